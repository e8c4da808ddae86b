/*
 * A manager's map, without a manager: children count words in a map in shared memory. Adding to a value is one
 * step for all of them; what takes several steps is done under the map's lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/diagnosis.h>
#include <thrum/manager.h>
#include <thrum/shared.h>

#define CHILDREN 3

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Several steps that are one: whoever has the longest word so far is replaced. */
static void propose(thrum_shared_map_t *map, const char *word)
{
    char longest[40];
    size_t size = 0;
    must(thrum_shared_map_lock(map));
    if (thrum_shared_map_get(map, "the longest", 11, longest, sizeof longest, &size) != 0)
        size = 0;
    if (strlen(word) > size)
        must(thrum_shared_map_set(map, "the longest", 11, word, strlen(word)));
    must(thrum_shared_map_unlock(map));
}

static void count(thrum_shared_map_t *map, const char *const *words)
{
    for (; *words != NULL; words++) {
        must(thrum_shared_map_add(map, *words, strlen(*words), 1, NULL));
        propose(map, *words);
    }
}

int main(void)
{
    static const char *const texts[CHILDREN][4] = {
        {"once", "upon", "once"}, {"upon", "once", "extraordinary"}, {"once"}};
    thrum_shared_t *arena = NULL;
    thrum_shared_map_t *map = NULL;
    must(thrum_shared_create(&arena, NULL));
    must(thrum_shared_map_create(&map, arena));

    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            count(map, texts[i]);
            _exit(0);
        }
    }
    for (int i = 0; i < CHILDREN; i++)
        waitpid(children[i], NULL, 0);

    int64_t once = 0, upon = 0;
    char longest[40];
    size_t size = 0;
    must(thrum_shared_map_get(map, "once", 4, &once, sizeof once, NULL));
    must(thrum_shared_map_get(map, "upon", 4, &upon, sizeof upon, NULL));
    must(thrum_shared_map_get(map, "the longest", 11, longest, sizeof longest, &size));
    printf("once %d, upon %d, the longest: %.*s\n", (int)once, (int)upon, (int)size, longest);
    printf("%zu keys\n", thrum_shared_map_size(map));
    thrum_shared_map_destroy(map);
    thrum_shared_destroy(arena);
    return 0;
}
