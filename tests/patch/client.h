#ifndef TESTS_PATCH_CLIENT_H
#define TESTS_PATCH_CLIENT_H

/*
 * Many blocking clients, each in a coroutine, all on one thread; and what they have to show: that they waited
 * at the same time, and not one after the other.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <thrum/thrum.h>

#define CLIENTS 1000
#define DELAY_MS 10
#define STACK ((size_t)256 * 1024)
#define SKIPPED 77

static inline void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, thrum_strerror(err));
        exit(1);
    }
}

/* How many clients are connected to the server, and how many have been at most. */
struct meter {
    uint32_t now;
    uint32_t most;
};

static inline void meter_enter(struct meter *m)
{
    const uint32_t now = __atomic_add_fetch(&m->now, 1u, __ATOMIC_RELAXED);
    if (now > __atomic_load_n(&m->most, __ATOMIC_RELAXED)) /* the server has one thread */
        __atomic_store_n(&m->most, now, __ATOMIC_RELAXED);
}

static inline void meter_leave(struct meter *m)
{
    __atomic_sub_fetch(&m->now, 1u, __ATOMIC_RELAXED);
}

/* How many clients may be under way if each takes `each` descriptors; 0: so few that nothing is shown. */
static inline uint32_t clients_at_a_time(unsigned each)
{
    struct rlimit limit = {0, 0};
    const rlim_t wanted = (rlim_t)CLIENTS * each + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    const rlim_t most = limit.rlim_cur > 64 ? (limit.rlim_cur - 64) / each : 0;
    return most < 150 ? 0 : most < CLIENTS ? (uint32_t)most : CLIENTS;
}

/* A server: a loop on a thread of its own, which begins with one coroutine and ends when that is cancelled. */
struct server {
    thrum_loop_t *loop;
    thrum_coro_t *first;
    thrum_thread_t *thread;
};

static inline int run_server(void *loop, void **result)
{
    (void)result;
    return thrum_loop_run(loop);
}

static inline void server_start(struct server *s, thrum_fn fn)
{
    must(thrum_loop_create(&s->loop, NULL), "loop");
    must(thrum_loop_go(s->loop, &s->first, fn, NULL, NULL), "go");
    must(thrum_thread_spawn(&s->thread, run_server, s->loop, NULL), "thread");
}

static inline void server_stop(struct server *s)
{
    must(thrum_coro_cancel(s->first), "cancel");
    must(thrum_thread_join(s->thread, NULL), "join");
    thrum_coro_release(s->first);
    thrum_thread_release(s->thread);
    thrum_loop_destroy(s->loop);
}

struct clients {
    thrum_fn fn; /* one client; its argument is a struct client */
    void *arg;
    thrum_sem_t places;
    unsigned done;
};

struct client {
    struct clients *all;
    unsigned number;
};

static inline int run_client(void *arg, void **result)
{
    struct client *client = arg;
    must(thrum_sem_acquire(&client->all->places), "acquire");
    const int err = client->all->fn(client, result);
    must(thrum_sem_release(&client->all->places), "release");
    client->all->done += err == 0;
    return err;
}

static inline int spawn_clients(void *arg, void **result)
{
    static struct client clients[CLIENTS];
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    (void)result;
    config.stack_size = STACK;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){arg, i};
        must(thrum_go_with(NULL, run_client, &clients[i], &config), "go");
    }
    return 0;
}

/* The serial time is that of `replies` replies, each delayed. The bound is generous: half of it. */
static inline int judge(const char *what, const struct clients *all, const struct meter *meter,
                        thrum_time_t took, unsigned replies)
{
    const unsigned serial = replies * DELAY_MS;
    const unsigned ms = (unsigned)(took / THRUM_MS(1));
    printf("%s: %u of %u clients on one thread in %u ms, one after the other at least %u ms; "
           "%u at a time\n",
           what, all->done, (unsigned)CLIENTS, ms, serial, meter->most);
    return all->done == CLIENTS && ms < serial / 2 && meter->most > 100 ? 0 : 1;
}

#endif /* TESTS_PATCH_CLIENT_H */
