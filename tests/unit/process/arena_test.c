#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include <thrum/shared.h>

#include "process/arena_heap.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(arena, .timeout = 60);

static thrum_shared_t *make(size_t max)
{
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    thrum_shared_t *arena = NULL;
    config.max_size = max;
    cr_assert_eq(thrum_shared_create(&arena, &config), 0);
    return arena;
}

Test(arena, null_is_refused)
{
    thrum_shared_t *arena = make(0);
    void *memory = NULL;
    EXPECT_CALL(EINVAL, thrum_shared_create(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_open(NULL, "x"));
    EXPECT_CALL(EINVAL, thrum_shared_open(&arena, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(NULL, 0));
    EXPECT_CALL(EINVAL, thrum_shared_alloc(NULL, 1, &memory));
    EXPECT_CALL(EINVAL, thrum_shared_alloc(arena, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_alloc(arena, 0, &memory));
    EXPECT_CALL(EINVAL, thrum_shared_free(NULL, memory));
    EXPECT_CALL(EINVAL, thrum_shared_set_name(NULL, "x", memory));
    EXPECT_CALL(EINVAL, thrum_shared_set_name(arena, NULL, memory));
    EXPECT_CALL(EINVAL, thrum_shared_find(NULL, "x", &memory));
    EXPECT_CALL(EINVAL, thrum_shared_find(arena, NULL, &memory));
    EXPECT_CALL(EINVAL, thrum_shared_find(arena, "x", NULL));
    EXPECT_CALL(0, thrum_shared_free(arena, NULL));
    cr_expect_eq(thrum_shared_offset(NULL, arena), 0);
    cr_expect_eq(thrum_shared_pointer(NULL, 64), NULL);
    cr_expect_eq(thrum_shared_fd(NULL), -1);
    cr_expect_eq(thrum_shared_size(NULL) + thrum_shared_used(NULL) + thrum_shared_max_size(NULL),
                 0);
    thrum_shared_destroy(NULL);
    thrum_shared_destroy(arena);
}

Test(arena, a_config_that_makes_no_sense_is_refused)
{
    thrum_shared_t *arena = NULL;
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    config.config_size = 1;
    EXPECT_CALL(EINVAL, thrum_shared_create(&arena, &config));
    config.config_size = 0; /* the first version */
    EXPECT_CALL(0, thrum_shared_create(&arena, &config));
    thrum_shared_destroy(arena);
    arena = NULL;
    config.config_size = sizeof config;
    config.max_size = 1;
    EXPECT_CALL(EINVAL, thrum_shared_create(&arena, &config));
    config.max_size = 1u << 20;
    config.size = 2u << 20;
    EXPECT_CALL(EINVAL, thrum_shared_create(&arena, &config));
    config.size = 0;
    config.max_size = SIZE_MAX;
    EXPECT_CALL(EINVAL, thrum_shared_create(&arena, &config));
    config.max_size = SIZE_MAX / 4; /* more than there are addresses */
    EXPECT_CALL(ENOMEM, thrum_shared_create(&arena, &config));
    cr_expect_eq(arena, NULL);
}

Test(arena, memory_is_zeroed_aligned_and_comes_back)
{
    thrum_shared_t *arena = make(0);
    const size_t used = thrum_shared_used(arena);
    char *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        const size_t size = 1 + i * 37;
        cr_assert_eq(thrum_shared_alloc(arena, size, (void **)&blocks[i]), 0);
        cr_expect_eq((uintptr_t)blocks[i] % THRUM_SHARED_ALIGNMENT, 0);
        for (size_t j = 0; j < size; j++)
            cr_assert_eq(blocks[i][j], 0);
        memset(blocks[i], 0xa5, size);
    }
    cr_expect(thi_shared_sound(arena));
    for (size_t i = 0; i < 200; i += 2)
        EXPECT_CALL(0, thrum_shared_free(arena, blocks[i]));
    for (size_t i = 1; i < 200; i += 2)
        EXPECT_CALL(0, thrum_shared_free(arena, blocks[i]));
    cr_expect(thi_shared_sound(arena));
    cr_expect_eq(thrum_shared_used(arena), used);
    EXPECT_CALL(EINVAL, thrum_shared_free(arena, blocks[0]));
    EXPECT_CALL(EINVAL, thrum_shared_free(arena, blocks));
    EXPECT_CALL(EINVAL, thrum_shared_free(arena, (char *)thi_shared_base(arena) + 64));
    thrum_shared_destroy(arena);
}

Test(arena, it_grows_to_its_limit_and_then_says_so)
{
    const size_t max = (size_t)8 << 20;
    thrum_shared_t *arena = make(max);
    void *memory = NULL;
    size_t n = 0;
    cr_expect_lt(thrum_shared_size(arena), (size_t)1 << 20);
    while (thrum_shared_alloc(arena, 100000, &memory) == 0) {
        memset(memory, 1, 100000);
        n++;
    }
    cr_expect_geq(n, max / 101000);
    cr_expect_leq(thrum_shared_size(arena), max);
    cr_expect_eq(thrum_shared_max_size(arena), max);
    EXPECT_CALL(ENOMEM, thrum_shared_alloc(arena, 100000, &memory));
    EXPECT_CALL(ENOMEM, thrum_shared_alloc(arena, SIZE_MAX, &memory));
    EXPECT_CALL(ENOMEM, thrum_shared_alloc(arena, max, &memory));
    EXPECT_CALL(0, thrum_shared_free(arena, memory));
    EXPECT_CALL(0, thrum_shared_alloc(arena, 100000, &memory));
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

Test(arena, nearly_all_of_it_can_be_one_block)
{
    const size_t max = (size_t)4 << 20;
    thrum_shared_t *arena = make(max);
    void *memory = NULL;
    EXPECT_CALL(0, thrum_shared_alloc(arena, max - 4096 - 256, &memory));
    EXPECT_CALL(0, thrum_shared_free(arena, memory));
    EXPECT_CALL(0, thrum_shared_alloc(arena, max - 4096 - 256, &memory));
    thrum_shared_destroy(arena);
}

/* What is written in one is read in the other, also beyond what there was when it was forked. */
static int child_grows(void *arg)
{
    thrum_shared_t *arena = arg;
    char *memory = NULL;
    if (thrum_shared_alloc(arena, (size_t)3 << 20, (void **)&memory) != 0)
        return 1;
    memset(memory, 7, (size_t)3 << 20);
    return thrum_shared_set_name(arena, "made by the child", memory);
}

Test(arena, growth_in_a_child_is_seen_by_the_parent)
{
    thrum_shared_t *arena = make(0);
    char *memory = NULL;
    cr_assert_eq(victim_end(victim_start(child_grows, arena)), 0);
    EXPECT_CALL(0, thrum_shared_find(arena, "made by the child", (void **)&memory));
    cr_expect_eq(memory[0], 7);
    cr_expect_eq(memory[((size_t)3 << 20) - 1], 7);
    EXPECT_CALL(0, thrum_shared_free(arena, memory));
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

Test(arena, a_descriptor_opens_it_elsewhere)
{
    thrum_shared_t *arena = make(0), *again = NULL;
    int *here = NULL, *there = NULL;
    cr_assert_eq(thrum_shared_alloc(arena, sizeof *here, (void **)&here), 0);
    cr_assert_eq(thrum_shared_open_fd(&again, thrum_shared_fd(arena)), 0);
    there = thrum_shared_pointer(again, thrum_shared_offset(arena, here));
    cr_expect_neq(here, there);
    *here = 42;
    cr_expect_eq(*there, 42);
    thrum_shared_destroy(arena);
    cr_expect_eq(*there, 42);
    EXPECT_CALL(0, thrum_shared_free(again, there));
    cr_expect((fcntl(thrum_shared_fd(again), F_GETFD) & FD_CLOEXEC) != 0);
    thrum_shared_destroy(again);
}

Test(arena, what_is_no_arena_is_not_opened)
{
    thrum_shared_t *arena = NULL;
    int fd = open("/dev/null", O_RDWR);
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(&arena, fd));
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(&arena, -1));
    close(fd);
    fd = memfd_create("other", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(fd, 1 << 20), 0);
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(&arena, fd));
    close(fd);
    cr_assert_eq(thi_segment_create("other", &fd), 0);
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(&arena, fd));
    cr_assert_eq(thi_segment_grow(fd, 0, 1 << 20), 0);
    EXPECT_CALL(EINVAL, thrum_shared_open_fd(&arena, fd));
    close(fd);
}

Test(arena, what_says_of_itself_what_cannot_be_is_not_opened)
{
    thrum_shared_t *arena = make(0), *again = NULL;
    thi_heap_t *heap = thi_shared_base(arena);
    const thi_heap_t right = *heap;
    const uint64_t max[] = {right.max + 1, right.max, right.max, right.end - thi_page_size(), 0};
    const uint64_t end[] = {right.end, right.max + thi_page_size(), right.max, right.end,
                            right.end};
    for (size_t i = 0; i < sizeof max / sizeof *max; i++) {
        heap->max = max[i];
        heap->end = end[i];
        EXPECT_CALL(EINVAL, thrum_shared_open_fd(&again, thrum_shared_fd(arena)));
    }
    heap->max = right.max;
    heap->end = right.end;
    EXPECT_CALL(0, thrum_shared_open_fd(&again, thrum_shared_fd(arena)));
    thrum_shared_destroy(again);
    thrum_shared_destroy(arena);
}

Test(arena, nobody_can_make_it_shorter)
{
    thrum_shared_t *arena = make(0);
    cr_expect_neq(ftruncate(thrum_shared_fd(arena), 4096), 0);
    thrum_shared_destroy(arena);
}

Test(arena, names_are_given_changed_and_taken_away)
{
    thrum_shared_t *arena = make(0);
    char *memory = NULL, *found = NULL, name[100];
    const size_t used = thrum_shared_used(arena);
    cr_assert_eq(thrum_shared_alloc(arena, 1000, (void **)&memory), 0);
    EXPECT_CALL(ENOENT, thrum_shared_find(arena, "a", (void **)&found));
    EXPECT_CALL(ENOENT, thrum_shared_set_name(arena, "a", NULL));
    EXPECT_CALL(EINVAL, thrum_shared_set_name(arena, "", memory));
    EXPECT_CALL(EINVAL, thrum_shared_set_name(arena, "a", &found));
    memset(name, 'n', sizeof name);
    name[THRUM_SHARED_NAME_MAX + 1] = '\0';
    EXPECT_CALL(EINVAL, thrum_shared_set_name(arena, name, memory));
    name[THRUM_SHARED_NAME_MAX] = '\0';
    EXPECT_CALL(0, thrum_shared_set_name(arena, name, memory + 1));
    EXPECT_CALL(0, thrum_shared_set_name(arena, "a", memory));
    EXPECT_CALL(0, thrum_shared_set_name(arena, "b", memory + 2));
    EXPECT_CALL(0, thrum_shared_find(arena, name, (void **)&found));
    cr_expect_eq(found, memory + 1);
    EXPECT_CALL(0, thrum_shared_set_name(arena, "a", memory + 3));
    EXPECT_CALL(0, thrum_shared_find(arena, "a", (void **)&found));
    cr_expect_eq(found, memory + 3);
    EXPECT_CALL(0, thrum_shared_set_name(arena, "a", NULL));
    EXPECT_CALL(ENOENT, thrum_shared_find(arena, "a", (void **)&found));
    EXPECT_CALL(0, thrum_shared_find(arena, "b", (void **)&found));
    cr_expect_eq(found, memory + 2);
    EXPECT_CALL(0, thrum_shared_set_name(arena, "b", NULL));
    EXPECT_CALL(0, thrum_shared_set_name(arena, name, NULL));
    EXPECT_CALL(0, thrum_shared_free(arena, memory));
    cr_expect_eq(thrum_shared_used(arena), used);
    thrum_shared_destroy(arena);
}

Test(arena, a_limit_of_files_is_no_memory_and_no_signal)
{
    thrum_shared_t *arena = make(0);
    void *memory = NULL;
    const struct rlimit limit = {(rlim_t)2 << 20, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_CALL(ENOMEM, thrum_shared_alloc(arena, (size_t)3 << 20, &memory));
    EXPECT_CALL(0, thrum_shared_alloc(arena, (size_t)1 << 20, &memory));
    memset(memory, 1, (size_t)1 << 20);
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

Test(arena, slots_name_blocks)
{
    thrum_shared_t *arena = make(0);
    const size_t used = thrum_shared_used(arena);
    uint64_t *slots = NULL;
    cr_assert_eq(thrum_shared_alloc(arena, 1000, (void **)&slots), 0);
    cr_assert_eq(thi_shared_alloc_into(arena, 5000, &slots[0]), 0);
    cr_assert_eq(thi_shared_alloc_into(arena, 100, &slots[1]), 0);
    cr_expect_geq(thi_shared_room(arena, slots[0]), 5000);
    memset(thrum_shared_pointer(arena, slots[0]), 1, 5000);
    thi_shared_free_from(arena, &slots[0], 0);
    cr_expect_eq(slots[0], 0);
    thi_shared_free_from(arena, &slots[1], 0);
    cr_expect(thi_shared_sound(arena));
    EXPECT_CALL(0, thrum_shared_free(arena, slots));
    cr_expect_eq(thrum_shared_used(arena), used);
    thrum_shared_destroy(arena);
}

/* --- arenas with names ------------------------------------------------------------------------- */

struct named {
    char name[40];
    uint32_t at;
    uint32_t made;
    uint32_t there;
    uint32_t value;
};

static struct named *named_make(void)
{
    struct named *n = victim_memory(sizeof *n);
    snprintf(n->name, sizeof n->name, "test %d", (int)getpid());
    return n;
}

static int named_create(const struct named *n, thrum_shared_t **arena)
{
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    config.name = n->name;
    return thrum_shared_create(arena, &config);
}

/* Makes it, and has it until it is killed. */
static int creator(void *arg)
{
    struct named *n = arg;
    thrum_shared_t *arena = NULL;
    int *value = NULL;
    if (named_create(n, &arena) != 0 || thrum_shared_alloc(arena, 4, (void **)&value) != 0 ||
        thrum_shared_set_name(arena, "value", value) != 0)
        return 1;
    *value = 42;
    thi_store_release(&n->at, 1u);
    for (;;)
        pause();
}

Test(arena, a_name_opens_it_in_an_unrelated_process)
{
    struct named *n = named_make();
    thrum_shared_t *arena = NULL, *other = NULL;
    int *value = NULL;
    EXPECT_CALL(ENOENT, thrum_shared_open(&arena, n->name));
    EXPECT_CALL(EINVAL, thrum_shared_open(&arena, "with/slash"));
    EXPECT_CALL(EINVAL, thrum_shared_open(&arena, ""));
    const pid_t pid = victim_start(creator, n);
    await_word(&n->at, 1);
    EXPECT_CALL(EEXIST, named_create(n, &other));
    EXPECT_CALL(0, thrum_shared_open(&arena, n->name));
    victim_kill(pid); /* who made it is no more to it than others */
    EXPECT_CALL(EEXIST, named_create(n, &other));
    EXPECT_CALL(0, thrum_shared_find(arena, "value", (void **)&value));
    cr_expect_eq(*value, 42);
    EXPECT_CALL(0, thrum_shared_open(&other, n->name));
    thrum_shared_destroy(arena);
    thrum_shared_destroy(other);
    EXPECT_CALL(ENOENT, thrum_shared_open(&arena, n->name));
    EXPECT_CALL(0, named_create(n, &arena));
    thrum_shared_destroy(arena);
}

Test(arena, a_name_is_gone_with_the_last_user_however_that_ended)
{
    struct named *n = named_make();
    thrum_shared_t *arena = NULL;
    for (int i = 0; i < 3; i++) {
        thi_store_release(&n->at, 0u);
        const pid_t pid = victim_start(creator, n);
        await_word(&n->at, 1);
        victim_kill(pid);
        EXPECT_CALL(ENOENT, thrum_shared_open(&arena, n->name));
    }
}

static int racer(void *arg)
{
    struct named *n = arg;
    thrum_shared_t *arena = NULL;
    await_word(&n->at, 1);
    const int err = named_create(n, &arena);
    if (err == 0)
        thi_fetch_add_acq_rel(&n->made, 1u);
    else if (err == EEXIST)
        thi_fetch_add_acq_rel(&n->there, 1u);
    await_word(&n->at, 2); /* it stays open until all have tried */
    thrum_shared_destroy(arena);
    return 0;
}

Test(arena, of_many_that_make_it_at_once_one_does)
{
    struct named *n = named_make();
    pid_t pids[6];
    for (int round = 0; round < 10; round++) {
        n->at = n->made = n->there = 0;
        for (int i = 0; i < 6; i++)
            pids[i] = victim_start(racer, n);
        thi_store_release(&n->at, 1u);
        while (thi_load_acquire(&n->made) + thi_load_acquire(&n->there) != 6)
            sched_yield();
        cr_expect_eq(n->made, 1, "%u were made", n->made);
        thi_store_release(&n->at, 2u);
        for (int i = 0; i < 6; i++)
            cr_expect_eq(victim_end(pids[i]), 0);
    }
}
