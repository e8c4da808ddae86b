/*
 * Threads: four of them add up the parts of a sum. Each hands its part back as its result, and fails
 * where there is nothing to add.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define PARTS 4

struct part {
    int first;
    int last;
    long sum;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* A thrum_fn: returns its status, and hands something back in *result. */
static int add_up(void *arg, void **result)
{
    struct part *part = arg;
    if (part->first > part->last)
        return ENODATA;
    for (int i = part->first; i <= part->last; i++)
        part->sum += i;
    *result = &part->sum;
    return 0;
}

int main(void)
{
    struct part parts[PARTS] = {{1, 25, 0}, {26, 50, 0}, {51, 100, 0}, {9, 0, 0}};
    thrum_thread_t *threads[PARTS];
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    long total = 0;

    for (int i = 0; i < PARTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "part %d", i + 1);
        config.name = name;
        must(thrum_thread_create(&threads[i], add_up, &parts[i], &config));
        must(thrum_thread_start(threads[i]));
    }
    for (int i = 0; i < PARTS; i++) {
        void *sum = NULL;
        const int err = thrum_thread_join(threads[i], &sum);
        printf("%s: %s\n", thrum_thread_name(threads[i]), thrum_strerror(err));
        if (err == 0)
            total += *(long *)sum;
        must(thrum_thread_alive(threads[i]) ? EPROTO : 0);
        thrum_thread_release(threads[i]);
    }
    printf("together: %ld\n", total);
    printf("threads: %zu\n", thrum_thread_count());
    return 0;
}
