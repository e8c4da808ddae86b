/*
 * Switching, as greenlets do: no caller and callee but equals, each of which says who goes on. Two players
 * hit a ball to each other until one lets it drop; then control comes back to whoever started the game.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/coroutine.h>
#include <thrum/diagnosis.h>

struct player {
    const char *name;
    thrum_coro_t *self;
    thrum_coro_t *other;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int play(void *arg, void **result)
{
    struct player *me = arg;
    static int ball; /* the first player serves */
    void *received = &ball;
    while (ball < 5) {
        ball++;
        printf("%s: %d\n", me->name, ball);
        must(thrum_coro_switch(me->other, &ball, &received)); /* until somebody comes back */
    }
    printf("%s has had enough\n", me->name);
    *result = received; /* goes to whoever had started us by a switch */
    return 0;
}

/* With the program itself, which can be switched to like any other. */
static int echo(void *arg, void **result)
{
    thrum_coro_t *program = arg;
    void *word = "ready";
    (void)result;
    for (int i = 0; i < 3; i++) {
        must(thrum_coro_switch(program, word, &word));
        printf("echo: %s\n", (const char *)word);
    }
    return 0;
}

int main(void)
{
    struct player ping = {"ping", NULL, NULL};
    struct player pong = {"pong", NULL, NULL};
    must(thrum_coro_create(&ping.self, play, &ping, NULL));
    must(thrum_coro_create(&pong.self, play, &pong, NULL));
    ping.other = pong.self;
    pong.other = ping.self;

    void *received = NULL;
    must(thrum_coro_switch(ping.self, NULL, &received));
    printf("the ball is back, after %d\n", *(int *)received);
    printf("ping has returned: %s, pong has returned: %s\n",
           thrum_coro_done(ping.self) ? "yes" : "no", thrum_coro_done(pong.self) ? "yes" : "no");
    thrum_coro_release(ping.self);
    thrum_coro_release(pong.self);

    thrum_coro_t *partner = NULL;
    const char *words[] = {"one", "two", "three"};
    must(thrum_coro_create(&partner, echo, thrum_coro_current(), NULL));
    must(thrum_coro_switch(partner, NULL, &received));
    printf("the partner is %s\n", (const char *)received);
    for (size_t i = 0; i < 3; i++)
        must(thrum_coro_switch(partner, (void *)words[i], NULL));
    printf("once more: %s\n", thrum_strerror(thrum_coro_switch(partner, NULL, NULL)));
    thrum_coro_release(partner);
    return 0;
}
