/*
 * The end of a process that has children: it waits for the writer, which nobody joins, and ends the watcher, a
 * daemon. (Had it been killed, the system would have ended the watcher with it, and not the writer.)
 */
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

static int watch(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_sleep_until(THRUM_FOREVER);
}

static int write_out(void *arg, void **result)
{
    (void)result;
    must(thrum_sleep(THRUM_MS(50))); /* long after main */
    printf("the writer: %s\n", (const char *)arg);
    return 0;
}

int main(void)
{
    static char last_words[] = "everything is on disk";
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    thrum_process_t *watcher = NULL;

    config.name = "watcher";
    config.daemon = true;
    must(thrum_process_spawn(&watcher, watch, NULL, &config));
    must(thrum_process_spawn(NULL, write_out, last_words, NULL)); /* nobody will ask */

    printf("children: %zu\n", thrum_process_count());
    printf("the %s is a daemon: %s\n", thrum_process_name(watcher),
           thrum_process_daemon(watcher) ? "yes" : "no");
    thrum_process_release(watcher);
    printf("main returns\n");
    fflush(stdout); /* or it is written out by exit, after its wait */
    return 0;
}
