/*
 * An arena's processes are killed at every point where it would matter, and the system has no memory at every
 * call.
 */
#include <string.h>

#include <criterion/criterion.h>

#include <thrum/shared.h>

#include "process/process.h"
#include "support/victim.h"

TestSuite(arena_fault, .timeout = 120);

#define BLOCKS 16u

static char arena_name[40];

struct scene {
    thrum_shared_t *arena;
    uint64_t *slots;
    size_t used;
};

static struct scene scene_make(void)
{
    struct scene s = {0};
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    config.max_size = (size_t)16 << 20;
    cr_assert_eq(thrum_shared_create(&s.arena, &config), 0);
    cr_assert_eq(thrum_shared_alloc(s.arena, BLOCKS * sizeof *s.slots, (void **)&s.slots), 0);
    s.used = thrum_shared_used(s.arena);
    return s;
}

/* It is whole, can be used, and nothing has been lost to it. */
static int survives(void *arg)
{
    struct scene *s = arg;
    void *memory = NULL;
    if (!thi_shared_sound(s->arena))
        return 1;
    for (unsigned i = 0; i < BLOCKS; i++)
        if (s->slots[i] != 0)
            thi_shared_free_from(s->arena, &s->slots[i], 0);
    if (!thi_shared_sound(s->arena) || thrum_shared_used(s->arena) != s->used)
        return 2;
    if (thrum_shared_alloc(s->arena, 1000, &memory) != 0 ||
        thrum_shared_free(s->arena, memory) != 0)
        return 3;
    return 0;
}

static int with_slots(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 0; i < 6; i++)
        if (thi_shared_alloc_into(s->arena, 100 * i + 1, &s->slots[i]) != 0)
            return 1;
    thi_shared_free_from(s->arena, &s->slots[1], 0);
    thi_shared_free_from(s->arena, &s->slots[3], 0);
    thi_shared_free_from(s->arena, &s->slots[2], 0); /* neighbours on both sides */
    if (thi_shared_alloc_into(s->arena, (size_t)1 << 20, &s->slots[7]) != 0) /* it has to grow */
        return 2;
    for (unsigned i = 0; i < BLOCKS; i++)
        if (s->slots[i] != 0)
            thi_shared_free_from(s->arena, &s->slots[i], 0);
    return 0;
}

Test(arena_fault, a_death_anywhere_loses_no_block_that_has_a_slot)
{
    struct scene s = scene_make();
    const struct walk w = {.fn = with_slots, .survives = survives, .arg = &s};
    cr_expect_gt(walk(&w), 50);
    thrum_shared_destroy(s.arena);
}

/* Somebody dies in the middle; who mends what he left dies at each point of that. */
static int begin_broken(void *arg)
{
    struct scene *s = arg;
    struct walk_step step = {&(struct walk){.fn = with_slots, .arg = s}, 20, NULL};
    return victim_end(victim_start(walk_step, &step)) == 128 + SIGKILL ? 0 : 1;
}

static int mend_and_go_on(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 0; i < BLOCKS; i++)
        if (s->slots[i] != 0)
            thi_shared_free_from(s->arena, &s->slots[i], 0);
    return with_slots(arg);
}

Test(arena_fault, a_death_while_mending_is_mended)
{
    struct scene s = scene_make();
    const struct walk w = {
        .begin = begin_broken, .fn = mend_and_go_on, .survives = survives, .arg = &s};
    cr_expect_gt(walk(&w), 50);
    thrum_shared_destroy(s.arena);
}

static int with_names(void *arg)
{
    struct scene *s = arg;
    void *found = NULL;
    if (thrum_shared_set_name(s->arena, "one", s->slots) != 0 ||
        thrum_shared_set_name(s->arena, "two", s->slots + 1) != 0 ||
        thrum_shared_set_name(s->arena, "three", s->slots + 2) != 0 ||
        thrum_shared_find(s->arena, "two", &found) != 0 || found != s->slots + 1)
        return 1;
    return thrum_shared_set_name(s->arena, "two", NULL);
}

static int names_survive(void *arg)
{
    struct scene *s = arg;
    void *found = NULL;
    if (!thi_shared_sound(s->arena))
        return 10;
    /* One more makes whoever is half there go. */
    if (thrum_shared_set_name(s->arena, "four", s->slots + 3) != 0 ||
        thrum_shared_set_name(s->arena, "four", NULL) != 0)
        return 11;
    const char *names[] = {"one", "two", "three"};
    for (unsigned i = 0; i < 3; i++)
        if (thrum_shared_find(s->arena, names[i], &found) == 0 &&
            (found != s->slots + i || thrum_shared_set_name(s->arena, names[i], NULL) != 0))
            return 12;
    return survives(arg);
}

Test(arena_fault, names_survive_too)
{
    struct scene s = scene_make();
    const struct walk w = {.fn = with_names, .survives = names_survive, .arg = &s};
    cr_expect_gt(walk(&w), 20);
    thrum_shared_destroy(s.arena);
}

/* What has no slot is free again when the call that allocates it is killed, or lost when it was handed out. */
static int without_slots(void *arg)
{
    struct scene *s = arg;
    void *memory = NULL;
    return thrum_shared_alloc(s->arena, 500, &memory);
}

static int lost_at_most_one(void *arg)
{
    struct scene *s = arg;
    if (!thi_shared_sound(s->arena) || thrum_shared_used(s->arena) > s->used + 576)
        return 1;
    s->used = thrum_shared_used(s->arena);
    return survives(arg);
}

Test(arena_fault, an_alloc_that_is_killed_allocates_nothing_or_one_block)
{
    struct scene s = scene_make();
    const struct walk w = {.fn = without_slots, .survives = lost_at_most_one, .arg = &s};
    cr_expect_gt(walk(&w), 5);
    thrum_shared_destroy(s.arena);
}

Test(arena_fault, a_system_without_memory_is_an_error_at_every_call)
{
    for (unsigned n = 1;; n++) {
        thrum_shared_t *arena = NULL, *again = NULL;
        void *memory = NULL;
        thi_fault_arm(THI_FAULT_SEGMENT, n);
        int err = thrum_shared_create(&arena, NULL);
        if (err == 0)
            err = thrum_shared_open_fd(&again, thrum_shared_fd(arena));
        if (err == 0)
            err = thrum_shared_alloc(arena, (size_t)1 << 20, &memory);
        thi_fault_arm(THI_FAULT_SEGMENT, 0);
        cr_expect(err == 0 || err == ENOMEM || err == EMFILE);
        thrum_shared_destroy(arena);
        thrum_shared_destroy(again);
        if (err == 0 && n > 6)
            break;
        cr_assert_lt(n, 20);
    }
}

Test(arena_fault, a_name_is_not_taken_when_nobody_knows_whether_it_is_free)
{
    thrum_shared_t *arena = NULL, *again = NULL;
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    snprintf(arena_name, sizeof arena_name, "fault %d", (int)getpid());
    config.name = arena_name;
    cr_assert_eq(thrum_shared_create(&arena, &config), 0);
    int err = 0;
    for (unsigned n = 1; err != EEXIST; n++) {
        thi_fault_arm(THI_FAULT_SEGMENT, n);
        err = thrum_shared_create(&again, &config);
        thi_fault_arm(THI_FAULT_SEGMENT, 0);
        cr_assert(err == ENOMEM || err == EMFILE || err == EEXIST, "call %u: %d", n, err);
        cr_expect(n > 4 || err != EEXIST);
    }
    thi_fault_arm(THI_FAULT_SEGMENT, 1);
    cr_expect_eq(thrum_shared_open(&again, arena_name), EMFILE);
    thi_fault_arm(THI_FAULT_SEGMENT, 0);
    thrum_shared_destroy(arena);
}

Test(arena_fault, a_handle_without_memory_is_an_error)
{
    thrum_shared_t *arena = NULL, *again = NULL;
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    cr_expect_eq(thrum_shared_create(&arena, NULL), ENOMEM);
    cr_assert_eq(thrum_shared_create(&arena, NULL), 0);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    cr_expect_eq(thrum_shared_open_fd(&again, thrum_shared_fd(arena)), ENOMEM);
    thrum_shared_destroy(arena);
}

/* --- arenas with names ------------------------------------------------------------------------- */

static int make_named(void *arg)
{
    thrum_shared_t *arena = NULL;
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    (void)arg;
    config.name = arena_name;
    const int err = thrum_shared_create(&arena, &config);
    thrum_shared_destroy(arena);
    return err;
}

static int name_is_free(void *arg)
{
    thrum_shared_t *arena = NULL;
    return thrum_shared_open(&arena, arena_name) == ENOENT ? make_named(arg) : 1;
}

Test(arena_fault, a_maker_that_dies_leaves_no_name)
{
    snprintf(arena_name, sizeof arena_name, "fault %d", (int)getpid());
    const struct walk w = {.fn = make_named, .survives = name_is_free};
    cr_expect_gt(walk(&w), 3);
}

/* One dies while it makes it, and what it has made is kept open by somebody else. */
static bool take_any(int fd, void *arg)
{
    (void)fd, (void)arg;
    return true;
}

static int stop_half_way(void *arg)
{
    thi_stop_arm(arg);
    return make_named(NULL);
}

static int make_it_or_not(void *arg)
{
    (void)arg;
    const int err = make_named(NULL);
    return err == 0 || err == EEXIST ? 0 : err;
}

Test(arena_fault, what_a_dead_maker_has_left_open_elsewhere_is_in_nobodys_way)
{
    char link[80];
    snprintf(arena_name, sizeof arena_name, "fault %d", (int)getpid());
    snprintf(link, sizeof link, "thrum-shared:%s", arena_name);
    char *points[] = {"named: to be found", "named: about to decide"};
    for (unsigned n = 0; n < 2; n++) {
        const pid_t pid = victim_start(stop_half_way, points[n]);
        victim_await_stop(pid);
        const pid_t other = victim_start(make_it_or_not, NULL); /* waits for it */
        int fd = -1;
        cr_expect_eq(thi_segment_find(link, take_any, NULL, &fd), 0);
        victim_kill(pid);
        cr_expect_eq(victim_end(other), 0);
        cr_expect_eq(make_named(NULL), 0);
        close(fd);
    }
}

Test(arena_fault, a_maker_that_is_stopped_is_waited_for)
{
    char point[] = "named: to be found";
    thrum_shared_t *arena = NULL;
    snprintf(arena_name, sizeof arena_name, "fault %d", (int)getpid());
    const pid_t pid = victim_start(stop_half_way, point);
    victim_await_stop(pid);
    const pid_t other = victim_start(make_it_or_not, NULL);
    cr_expect_eq(thrum_shared_open(&arena, arena_name), ENOENT);
    kill(pid, SIGCONT);
    const int ended = victim_end(pid), other_ended = victim_end(other);
    cr_expect_eq(ended, 0, "it ended with %d, the other with %d", ended, other_ended);
    cr_expect_eq(other_ended, 0);
}
