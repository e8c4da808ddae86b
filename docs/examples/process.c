/*
 * Two ways to start a process: a copy of this one (fork), which has all that it has, and a fresh execution of
 * the program (spawn), which finds the function by its name and is handed bytes. Both end with what the
 * function returns; a third dies of a signal, and a fourth is ended.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

struct range {
    int first;
    int last;
};

/* A thrum_fn, in the child. What it returns is the exit code; there is nobody to take a result. */
static int add_up(void *arg, void **result)
{
    const struct range *range = arg;
    int sum = 0;
    (void)result;
    for (int i = range->first; i <= range->last; i++)
        sum += i;
    printf("%s: %d\n", thrum_process_name(thrum_process_current()), sum);
    return range->first <= range->last ? 0 : ENODATA;
}

static int crash(void *arg, void **result)
{
    (void)arg;
    (void)result;
    raise(SIGKILL);
    return 0;
}

static int work_for_ever(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_sleep_until(THRUM_FOREVER);
}

static int join(thrum_process_t *p)
{
    int code = 0;
    must(thrum_process_join(p, &code));
    thrum_process_release(p);
    return code;
}

int main(int argc, char **argv)
{
    must(thrum_process_register("add_up", add_up));
    thrum_process_begin(argc, argv); /* does not return in a fresh execution */

    struct range range = {1, 100};
    thrum_process_t *p = NULL;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;

    config.name = "a copy";
    must(thrum_process_create(&p, add_up, &range, &config));
    must(thrum_process_start(p));
    printf("exit code %d\n", join(p));

    config.name = "a fresh execution";
    config.start = THRUM_START_SPAWN;
    config.bytes = &range;
    config.size = sizeof range;
    must(thrum_process_spawn(&p, add_up, NULL, &config)); /* made and started */
    printf("exit code %d\n", join(p));

    range.first = 101;
    config = (thrum_process_config_t)THRUM_PROCESS_CONFIG_INIT;
    config.name = "one that fails";
    must(thrum_process_spawn(&p, add_up, &range, &config));
    printf("exit code %s\n", thrum_strerror(join(p)));

    must(thrum_process_spawn(&p, crash, NULL, NULL));
    printf("exit code -SIGKILL: %s\n", join(p) == -SIGKILL ? "yes" : "no");

    must(thrum_process_spawn(&p, work_for_ever, NULL, NULL));
    const int err = thrum_process_join_until(p, NULL, thrum_after(THRUM_MS(10)));
    printf("still at work: %s\n", err == ETIMEDOUT && thrum_process_alive(p) ? "yes" : "no");
    must(thrum_process_terminate(p));
    printf("exit code -SIGTERM: %s\n", join(p) == -SIGTERM ? "yes" : "no");

    printf("children: %zu\n", thrum_process_count());
    return 0;
}
