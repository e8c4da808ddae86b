/*
 * The start method spawn: a fresh execution of the program, which finds the function by its name and is handed
 * what it needs to know in the letter (os.h):
 *
 *   struct letter | the bytes, so aligned | function's name | process's name | parent's name
 */
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "process/object.h"

struct letter {
    uint64_t bytes;
    uint64_t function; /* these with the final zeros */
    uint64_t name;
    uint64_t parent_name;
    int64_t parent_pid;
    uint32_t has_bytes;
    uint32_t daemon;
};
#define ALIGNMENT 16
_Static_assert(sizeof(struct letter) % ALIGNMENT == 0, "the bytes are aligned");
#define NOT_REGISTERED 127

struct entry {
    const char *name;
    thrum_fn fn;
    struct entry *next;
};
static struct entry *entries; /* under the lock */
static uint32_t begun;

/* ------------------------------------------------------------------------------------------------
 * The table
 */

static const struct entry *find(const char *name, thrum_fn fn)
{
    thi_processes_enter();
    const struct entry *entry = entries;
    while (entry != NULL && entry->fn != fn && (name == NULL || strcmp(entry->name, name) != 0))
        entry = entry->next;
    thi_processes_leave();
    return entry; /* stays as it is */
}

const char *thi_spawn_name(thrum_fn fn)
{
    const struct entry *entry = find(NULL, fn);
    return entry != NULL ? entry->name : NULL;
}

int thrum_process_register(const char *name, thrum_fn fn)
{
    if (name == NULL || name[0] == '\0' || fn == NULL)
        return EINVAL;
    const struct entry *known = find(name, fn);
    if (known != NULL)
        return known->fn == fn && strcmp(known->name, name) == 0 ? 0 : EINVAL;
    struct entry *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->name = name;
    made->fn = fn;
    thi_processes_enter();
    made->next = entries;
    entries = made;
    thi_processes_leave();
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * In the parent
 */

/* It may be renamed meanwhile. */
static char *copy_name(struct thrum_process *p, size_t *size)
{
    char *copy = NULL;
    thi_processes_enter();
    *size = strlen(p->name) + 1;
    thi_processes_leave();
    for (size_t needed = 0; needed != *size;) {
        if (copy != NULL)
            thi_free(copy, needed);
        needed = *size;
        copy = thi_alloc(needed);
        if (copy == NULL)
            return NULL;
        thi_processes_enter();
        *size = strlen(p->name) + 1;
        if (*size == needed)
            memcpy(copy, p->name, needed);
        thi_processes_leave();
    }
    return copy;
}

static struct iovec piece(const void *data, size_t size)
{
    return (struct iovec){(void *)(uintptr_t)data, size};
}

static int write_to(struct thrum_process *p, const char *name, size_t name_size,
                    const char *parent_name, size_t parent_size)
{
    const struct letter letter = {
        .bytes = p->size,
        .function = strlen(p->registered) + 1,
        .name = name_size,
        .parent_name = parent_size,
        .parent_pid = thrum_process_pid(thrum_process_current()),
        .has_bytes = p->bytes != NULL,
        .daemon = thi_load_relaxed(&p->daemon),
    };
    const struct iovec text[] = {
        piece(&letter, sizeof letter),
        piece(p->bytes, p->size),
        piece(p->registered, (size_t)letter.function),
        piece(name, name_size),
        piece(parent_name, parent_size),
    };
    return thi_process_execute(&p->child, letter.daemon != 0, text, sizeof text / sizeof *text);
}

int thi_spawn(struct thrum_process *p)
{
    if (thi_load_relaxed(&begun) == 0)
        return EINVAL; /* it would run the program's main, and that another, and so on */
    size_t size = 0;
    size_t parent_size = 0;
    char *name = copy_name(p, &size);
    char *parent_name = copy_name(thrum_process_current(), &parent_size);
    int err = ENOMEM;
    if (name != NULL && parent_name != NULL)
        err = write_to(p, name, size, parent_name, parent_size);
    if (name != NULL)
        thi_free(name, size);
    if (parent_name != NULL)
        thi_free(parent_name, parent_size);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * In the new execution
 */

static thrum_fn find_function(const char *name)
{
    const struct entry *entry = find(name, NULL);
    if (entry == NULL) {
        fprintf(stderr, "thrum: no function is registered as %s\n", name);
        thi_process_leave(NOT_REGISTERED);
    }
    return entry->fn;
}

/* Zeroed but for its name. */
static struct thrum_process *make(const char *name)
{
    struct thrum_process *made = thi_alloc(sizeof *made);
    if (made != NULL) {
        made->refs = 1;
        made->name = made->short_name;
    }
    if (made == NULL || thrum_process_set_name(made, name) != 0) {
        fprintf(stderr, "thrum: no memory to begin with\n");
        thi_process_leave(NOT_REGISTERED);
    }
    return made;
}

/* The lengths make up all that came, and each text ends where it says. */
static bool is_letter(const struct letter *letter, const char *text, size_t size)
{
    const uint64_t lengths[] = {letter->bytes, letter->function, letter->name, letter->parent_name};
    size_t at = sizeof *letter;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (lengths[i] > size - at)
            return false;
        at += (size_t)lengths[i];
        if (i != 0 && (lengths[i] == 0 || text[at - 1] != '\0'))
            return false;
    }
    return at == size;
}

static _Noreturn void run(char *text, size_t size)
{
    struct letter letter;
    if (size < sizeof letter)
        thi_process_leave(NOT_REGISTERED); /* somebody else's */
    memcpy(&letter, text, sizeof letter);
    if (!is_letter(&letter, text, size))
        thi_process_leave(NOT_REGISTERED);
    char *bytes = text + sizeof letter;
    const char *function = bytes + letter.bytes;
    const char *name = function + letter.function;
    struct thrum_process *me = make(name);
    me->fn = find_function(function);
    me->size = (size_t)letter.bytes;
    me->bytes = letter.has_bytes != 0 ? bytes : NULL;
    me->arg = me->bytes;
    me->daemon = letter.daemon;
    thi_family_begin(me, make(name + letter.name), (pid_t)letter.parent_pid);
    thi_process_run(me);
}

void thrum_process_begin(int argc, char **argv)
{
    thi_store_relaxed(&begun, 1u);
    const int letter = thi_process_letter(argc, argv);
    if (letter < 0)
        return;
    size_t size = 0;
    char *text = thi_process_arrive(letter, &size);
    run(text, size);
}
