/*
 * Child processes by a fresh execution of the program. It is handed a letter: a file in memory that begins with
 * a head, which says where its gate is (process.c). What a forked child does at its gate, it does when
 * it reads the letter.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/memory_file.h"
#include "os/process.h"

#if defined(__linux__)
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct head {
    int32_t gate;
    int32_t dies_with_parent;
};

#define ARGUMENT "--thrum-process="
#define PARTS_MAX 8

static int open_letter(thi_child_t *child)
{
    thi_children_enter();
    const int err = thi_fault(THI_FAULT_LETTER) ? EMFILE : thi_memory_file("thrum", &child->letter);
    thi_children_leave();
    return err == ENOSPC ? ENOMEM : err;
}

static int write_letter(const thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    struct head head = {child->gate, dies_with_parent};
    struct iovec parts[1 + PARTS_MAX] = {{&head, sizeof head}};
    if (count > PARTS_MAX)
        return EINVAL;
    memcpy(parts + 1, text, (size_t)count * sizeof *text);
    return thi_memory_fill(child->letter, parts, 1 + count);
}

/* The new program begins with what a forked child would be given as its mask. */
static int set_mask(posix_spawnattr_t *attributes)
{
    sigset_t mask;
    thi_thread_let_through(&mask);
    const int err = posix_spawnattr_setsigmask(attributes, &mask);
    return err != 0 ? err : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
}

/* Onto themselves, which keeps them open over the execution; and not what ties this process to its parent. */
static int set_descriptors(posix_spawn_file_actions_t *actions, const thi_child_t *child)
{
    int err = posix_spawn_file_actions_adddup2(actions, child->gate, child->gate);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(actions, child->letter, child->letter);
    const int own = thi_gate_own();
    if (err == 0 && own >= 0)
        err = posix_spawn_file_actions_addclose(actions, own);
    return err;
}

static int execute(thi_child_t *child)
{
    char argument[sizeof ARGUMENT + 16];
    char *const argv[] = {program_invocation_name, argument, NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    snprintf(argument, sizeof argument, ARGUMENT "%d", child->letter);
    if (thi_fault(THI_FAULT_FORK))
        return EAGAIN;
    if (posix_spawnattr_init(&attributes) != 0)
        return ENOMEM;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        posix_spawnattr_destroy(&attributes);
        return ENOMEM;
    }
    int err = set_mask(&attributes);
    if (err == 0)
        err = set_descriptors(&actions, child);
    if (err == 0)
        err = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    child->pid = pid;
    return err == 0 || err == ENOMEM || err == EAGAIN ? err : ENOSYS;
}

static int do_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                      int count)
{
    if (getauxval(AT_SECURE) != 0)
        return ENOTSUP; /* its user could write the letter */
    int err = thi_gate_open(child);
    if (err == 0)
        err = open_letter(child);
    if (err == 0)
        err = write_letter(child, dies_with_parent, text, count);
    if (err == 0)
        err = execute(child);
    if (err == 0)
        err = thi_gate_admit(child, dies_with_parent);
    thi_children_enter();
    thi_child_close_fd(&child->letter);
    thi_children_leave();
    return err;
}

int thi_process_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_children_enter(); /* nobody forks while it is half written */
    thi_process_none(child);
    thi_children_leave();
    const int err = do_execute(child, dies_with_parent, text, count);
    if (err != 0)
        thi_process_close(child);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

/* Of one that has privileges, who executes it writes the arguments and hands it the descriptors: no letter is
 * written to such a one (do_execute), and none is read. */
int thi_process_letter(int argc, char **argv)
{
    const size_t length = sizeof ARGUMENT - 1;
    if (argc < 2 || strncmp(argv[1], ARGUMENT, length) != 0 || getauxval(AT_SECURE) != 0)
        return -1;
    return atoi(argv[1] + length);
}

/* What was written to the letter, which is sealed: no other file is taken for one, and nobody changes it now. */
static void *read_letter(int letter, struct head *head, size_t *size)
{
    uint64_t whole = 0;
    if (!thi_memory_is_filled(letter, &whole) || whole < sizeof *head || whole >= SIZE_MAX ||
        thi_memory_read(letter, head, sizeof *head, 0) != 0)
        return NULL;
    *size = (size_t)whole - sizeof *head;
    char *text = thi_alloc(*size + 1); /* never nothing */
    return text != NULL && thi_memory_read(letter, text, *size, sizeof *head) == 0 ? text : NULL;
}

static bool is_gate(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

void *thi_process_arrive(int letter, size_t *size)
{
    struct head head = {-1, 0};
    void *text = read_letter(letter, &head, size);
    thi_fd_close(letter);
    thi_gate_pass(text != NULL && is_gate(head.gate) ? head.gate : -1, head.dies_with_parent != 0);
    return text;
}
#else
int thi_process_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    (void)dies_with_parent, (void)text, (void)count;
    thi_process_none(child);
    return ENOSYS;
}

int thi_process_letter(int argc, char **argv)
{
    (void)argc, (void)argv;
    return -1;
}

void *thi_process_arrive(int letter, size_t *size)
{
    (void)letter, (void)size;
    return NULL;
}
#endif
