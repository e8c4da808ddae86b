/*
 * A program that was linked without the patch. Prints how many of its coroutines were in usleep at the same
 * time: one, or with the patch preloaded, all of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define SLEEPERS 20

static int now;
static int most;

static int sleeper(void *arg, void **result)
{
    (void)arg, (void)result;
    now++;
    most = now > most ? now : most;
    usleep(20000);
    now--;
    return 0;
}

static int spawn(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < SLEEPERS; i++) {
        if (thrum_go(NULL, sleeper, NULL) != 0)
            abort();
    }
    return 0;
}

int main(void)
{
    if (thrum_run(spawn, NULL, NULL) != 0)
        return 1;
    printf("%d of %d at the same time\n", most, SLEEPERS);
    return 0;
}
