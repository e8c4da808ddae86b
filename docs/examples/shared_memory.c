/*
 * Memory of several processes: children count words into one table, which grows as they need it. What they store
 * in it are offsets, since not every process has the arena at the same address.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/thrum.h>

struct word {
    uint64_t next; /* offset of the next; 0: none */
    unsigned count;
    char text[16];
};

struct table {
    thrum_shared_mutex_t lock;
    thrum_shared_barrier_t start;
    uint64_t first;
};

static thrum_shared_t *arena;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void count(struct table *table, const char *text)
{
    struct word *word = NULL;
    must(thrum_shared_mutex_lock(&table->lock));
    for (uint64_t at = table->first; at != 0 && word == NULL;) {
        struct word *one = thrum_shared_pointer(arena, at);
        if (strcmp(one->text, text) == 0)
            word = one;
        at = one->next;
    }
    if (word == NULL) {
        must(thrum_shared_alloc(arena, sizeof *word, (void **)&word)); /* zeroed */
        strncpy(word->text, text, sizeof word->text - 1);
        word->next = table->first;
        table->first = thrum_shared_offset(arena, word);
    }
    word->count++;
    must(thrum_shared_mutex_unlock(&table->lock));
}

static void child(const char *const *texts)
{
    /* As another program would that was given the descriptor: by another way to the same memory. */
    thrum_shared_t *again = NULL;
    struct table *table = NULL;
    must(thrum_shared_open_fd(&again, thrum_shared_fd(arena)));
    thrum_shared_destroy(arena);
    arena = again;
    must(thrum_shared_find(arena, "words", (void **)&table));
    must(thrum_shared_barrier_wait(&table->start, NULL));
    for (; *texts != NULL; texts++)
        count(table, *texts);
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    static const char *const texts[2][6] = {{"the", "cat", "and", "the", "dog", NULL},
                                            {"the", "dog", "and", "the", "cow", NULL}};
    struct table *table = NULL;
    must(thrum_shared_create(&arena, NULL));
    must(thrum_shared_alloc(arena, sizeof *table, (void **)&table));
    must(thrum_shared_mutex_init(&table->lock));
    must(thrum_shared_barrier_init(&table->start, 2));
    must(thrum_shared_set_name(arena, "words", table));

    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0)
            child(texts[i]);
    }
    for (int i = 0; i < 2; i++)
        waitpid(children[i], NULL, 0);

    unsigned words = 0, all = 0;
    for (uint64_t at = table->first; at != 0;) {
        const struct word *word = thrum_shared_pointer(arena, at);
        words++;
        all += word->count;
        if (strcmp(word->text, "the") == 0)
            printf("the: %u times\n", word->count);
        at = word->next;
    }
    printf("%u words, %u of them different\n", all, words);
    thrum_shared_destroy(arena);
    return EXIT_SUCCESS;
}
