/*
 * A process has memory of its own: what a child appends to its list, its parent does not see, while a thread
 * appends to the one that everybody has.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define MOST 8

struct list {
    int items[MOST];
    int size;
};

static struct list list = {{1, 2, 3}, 3};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void print(const char *who)
{
    printf("%s:", who);
    for (int i = 0; i < list.size; i++)
        printf(" %d", list.items[i]);
    printf("\n");
}

static int append(void *arg, void **result)
{
    (void)result;
    list.items[list.size] = list.size + 1;
    list.size++;
    print(arg);
    return 0;
}

int main(void)
{
    static char in_a_process[] = "the child process";
    static char in_a_thread[] = "a thread";
    thrum_process_t *p = NULL;
    thrum_thread_t *t = NULL;

    print("at first");
    for (int i = 0; i < 2; i++) {
        must(thrum_process_spawn(&p, append, in_a_process, NULL));
        must(thrum_process_join(p, NULL));
        thrum_process_release(p);
    }
    print("its parent");

    must(thrum_thread_spawn(&t, append, in_a_thread, NULL));
    must(thrum_thread_join(t, NULL));
    thrum_thread_release(t);
    print("the others");
    return 0;
}
