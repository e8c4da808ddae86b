/*
 * Groups: tasks that end together. First a sum over a tree, where each node is a group of two; then three
 * tasks of which one fails, so that the others are asked to stop, and clean up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_executor_t *pool;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* --- divide and conquer ------------------------------------------------------------------------- */

struct range {
    long first;
    long last;
    long sum;
};

static int add_up(void *arg, void **unused)
{
    struct range *r = arg;
    if (r->last - r->first < 100) {
        for (long i = r->first; i <= r->last; i++)
            r->sum += i;
        return 0;
    }
    const long middle = (r->first + r->last) / 2;
    struct range left = {r->first, middle, 0};
    struct range right = {middle + 1, r->last, 0};
    thrum_group_t g = THRUM_GROUP_INIT(pool); /* on the stack: it outlives its tasks */
    int err = thrum_group_spawn(&g, add_up, &left);
    if (err == 0)
        err = add_up(&right, unused); /* the other half here */
    const int other = thrum_group_wait(&g);
    r->sum = left.sum + right.sum;
    return err != 0 ? err : other;
}

/* --- the first error ---------------------------------------------------------------------------- */

static thrum_sem_t at_work = THRUM_SEM_INIT(0);
static thrum_event_t never = THRUM_EVENT_INIT;
static thrum_sem_t tidied = THRUM_SEM_INIT(0);

static int tidy_up(void *arg, void **result)
{
    (void)arg, (void)result;
    must(thrum_sleep(THRUM_MS(1))); /* shielded: it may wait */
    return thrum_sem_release(&tidied);
}

static int search(void *arg, void **result)
{
    (void)arg;
    must(thrum_sem_release(&at_work));
    const int err = thrum_event_wait(&never); /* ECANCELED, once the group is cancelled */
    if (err == ECANCELED && thrum_cancelled())
        must(thrum_shield(tidy_up, NULL, result));
    return err;
}

static int stumble(void *arg, void **result)
{
    (void)arg, (void)result;
    must(thrum_sem_acquire(&at_work));
    must(thrum_sem_acquire(&at_work)); /* both are */
    return ENOENT;
}

static int count_tidied(void)
{
    int count = 0;
    while (thrum_sem_tryacquire(&tidied) == 0)
        count++;
    return count;
}

int main(void)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    struct range all = {1, 1000000, 0};
    config.workers = 4;
    must(thrum_thread_pool_create(&pool, &config));
    must(add_up(&all, NULL));
    printf("sum: %ld\n", all.sum);

    thrum_group_t g = THRUM_GROUP_INIT(pool);
    must(thrum_group_spawn(&g, search, NULL));
    must(thrum_group_spawn(&g, search, NULL));
    must(thrum_group_spawn(&g, stumble, NULL));
    const int err = thrum_group_wait(&g); /* when it returns, all have ended */
    printf("group: %s, tidied up: %d\n", thrum_strerror(err), count_tidied());
    printf("one more: %s\n", thrum_strerror(thrum_group_spawn(&g, search, NULL)));
    thrum_executor_destroy(pool);
    return 0;
}
