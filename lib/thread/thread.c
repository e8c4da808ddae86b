/*
 * One thread's life; object.h has its states.
 *
 * Invariants
 *   I1  `strand` is the running thread's record, in the life that the thread has it in: the thread takes
 *       it away, under the lock, before it ends. A cancel under the lock never hits a later life.
 *   I2  `ended` is set in the last round of destructors that the library is given, when the strand's
 *       locals are destroyed. So who has waited for it and then joins the system's thread waits for
 *       moments, and needs no deadline.
 *   I3  After `ended` the thread touches its object by its own reference only.
 *   I4  The system's thread is joined or detached once: by who makes `native` TAKEN, or by nobody, when
 *       it was started detached. Daemons are: at the process's end there is nobody to join them.
 */
#include <string.h>

#include "thread/object.h"

#define AWAITED UINT32_MAX /* as a native id */

_Thread_local struct thrum_thread *thi_thread_mine THI_TLS_MODEL;
struct thrum_thread thi_thread_over;

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static void free_name(char *name, size_t size, const struct thrum_thread *t)
{
    if (name != t->short_name)
        thi_free(name, size);
}

static void dispose(struct thrum_thread *t)
{
    uint32_t native = THI_NATIVE_OURS;
    /* Relaxed: the last reference came with an acquire. */
    if (t->forks == thi_fork_depth() && thi_cas_relaxed(&t->native, &native, THI_NATIVE_TAKEN))
        thi_thread_detach(t->handle);
    if (t == &thi_main_thread)
        return;
    free_name(t->name, t->name_size, t);
    thi_free(t->cpus, t->start.cpu_count * sizeof *t->cpus);
    thi_free(t, sizeof *t);
}

static void drop(struct thrum_thread *t)
{
    /* R1: release, acquire: the last to drop it comes after the others. */
    if (thi_fetch_sub_acq_rel(&t->refs, 1u) == 1)
        dispose(t);
}

static bool valid(const thrum_thread_config_t *config)
{
    if (!THI_IS_CONFIG(config))
        return false;
    if (config->cpu_count != 0 && config->cpus == NULL)
        return false;
    for (size_t i = 0; i < config->cpu_count; i++) {
        if (config->cpus[i] >= THI_CPUS_MAX)
            return false;
    }
    return true;
}

static int copy_cpus(struct thrum_thread *t, const thrum_thread_config_t *config)
{
    if (config->cpu_count == 0)
        return 0;
    if (config->cpu_count > SIZE_MAX / sizeof *t->cpus)
        return ENOMEM;
    const size_t size = config->cpu_count * sizeof *t->cpus;
    t->cpus = thi_alloc(size);
    if (t->cpus == NULL)
        return ENOMEM;
    memcpy(t->cpus, config->cpus, size);
    t->start.cpus = t->cpus;
    t->start.cpu_count = config->cpu_count;
    return 0;
}

static void run(void *arg);

int thrum_thread_create(thrum_thread_t **t, thrum_fn fn, void *arg,
                        const thrum_thread_config_t *config)
{
    static const thrum_thread_config_t defaults = THRUM_THREAD_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (t == NULL || fn == NULL || !valid(config))
        return EINVAL;
    struct thrum_thread *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->refs = 1;
    made->fn = fn;
    made->arg = arg;
    made->daemon = config->daemon;
    made->name = made->short_name;
    made->status = ECANCELED; /* unless the function returns */
    made->start.fn = run;
    made->start.arg = made;
    made->start.stack_size = config->stack_size;
    int err = copy_cpus(made, config);
    if (err == 0 && config->name != NULL)
        err = thrum_thread_set_name(made, config->name);
    if (err == 0)
        *t = made;
    else
        drop(made);
    return err;
}

thrum_thread_t *thrum_thread_retain(thrum_thread_t *t)
{
    if (t != NULL)
        thi_fetch_add_relaxed(&t->refs, 1u); /* relaxed: the caller has one */
    return t;
}

void thrum_thread_release(thrum_thread_t *t)
{
    if (t != NULL)
        drop(t);
}

/* ------------------------------------------------------------------------------------------------
 * Running
 */

static void unpin(struct thrum_thread *t)
{
    thi_threads_enter();
    t->strand = NULL; /* I1 */
    thi_threads_leave();
}

static void end(struct thrum_thread *t)
{
    thi_thread_mine = &thi_thread_over;
    thi_known_remove(t, THI_THREAD_ENDED);
    drop(t);
}

/* Among the thread's destructors, in each of their rounds. Others may still set locals and wait, so it
 * ends in the last. */
static void destructors_run(void *arg)
{
    struct thrum_thread *t = arg;
    unpin(t); /* also of a function that did not return */
    if (++t->rounds >= thi_thread_exit_rounds() || thi_thread_at_end(destructors_run, t) != 0)
        end(t);
}

static void publish_native_id(struct thrum_thread *t)
{
    const uint32_t id = (uint32_t)thi_thread_native_id();
    /* R2: release; pairs with A2. */
    if (thi_swap_release(&t->native_id, id) == AWAITED)
        thi_futex_wake(&t->native_id, UINT_MAX);
}

int thi_thread_begin(struct thrum_thread *t)
{
    thi_thread_mine = t;
    publish_native_id(t);
    thi_strand_t *strand = thi_self(); /* NULL: it runs all the same; its waits say ENOMEM */
    t->handle = thi_thread_handle();
    thi_threads_enter();
    t->strand = strand;
    if (t->cancelled && strand != NULL)
        thi_strand_cancel(strand);
    t->named_here = true;
    if (t->name[0] != '\0' && !t->foreign)
        thi_thread_set_name(t->handle, t->name);
    thi_threads_leave();
    return thi_thread_at_end(destructors_run, t);
}

static void settle(struct thrum_thread *t)
{
    uint32_t state = THI_THREAD_STARTING;
    /* Relaxed: what joiners read was written before STARTING, or comes with ENDED. */
    thi_cas_relaxed(&t->state, &state, THI_THREAD_STARTED);
}

static void run(void *arg)
{
    struct thrum_thread *t = arg;
    void *result = NULL;
    if (!t->start.detached)
        thi_store_relaxed(&t->native, THI_NATIVE_OURS); /* relaxed: used after ENDED */
    settle(t);
    const int hooked = thi_thread_begin(t);
    const int status = t->fn(t->arg, &result);
    t->status = status;
    t->result = result;
    unpin(t);
    if (hooked != 0) /* nobody will call: then the locals are destroyed a moment after the end */
        end(t);
}

static int start(struct thrum_thread *t)
{
    thrum_thread_retain(t); /* the thread's own, before anybody else can find it */
    int err = thi_known_add(t);
    if (err == 0) {
        t->start.detached = thi_load_relaxed(&t->daemon) != 0;
        t->forks = thi_fork_depth();
        err = thi_thread_start(&t->start);
        if (err != 0)
            thi_known_remove(t, THI_THREAD_STARTING);
    }
    if (err != 0)
        drop(t);
    return err;
}

int thrum_thread_start(thrum_thread_t *t)
{
    uint32_t state = THI_THREAD_NEW;
    /* A3: acquire; pairs with R3. */
    if (t == NULL || !thi_cas_acquire(&t->state, &state, THI_THREAD_STARTING))
        return EINVAL;
    const int err = start(t);
    if (err != 0)
        thi_store_release(&t->state, THI_THREAD_NEW); /* R3: release; pairs with A3 */
    else
        settle(t);
    return err;
}

int thrum_thread_spawn(thrum_thread_t **t, thrum_fn fn, void *arg,
                       const thrum_thread_config_t *config)
{
    thrum_thread_t *made = NULL;
    int err = thrum_thread_create(&made, fn, arg, config);
    if (err != 0)
        return err;
    err = thrum_thread_start(made);
    if (err == 0 && t != NULL)
        *t = made;
    else
        thrum_thread_release(made);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Joining
 */

/* The thread has ended: until the system's thread has, too. */
static int await_gone(struct thrum_thread *t, thrum_time_t deadline)
{
    uint32_t native = thi_load_relaxed(&t->native);
    /* What the parent of a fork had not joined is not there to be joined. */
    if (native == THI_NATIVE_NOBODY || t->forks != thi_fork_depth())
        return 0;
    native = THI_NATIVE_OURS;
    /* Relaxed: ENDED brought the handle (A1), and the join brings the rest. */
    if (!thi_cas_relaxed(&t->native, &native, THI_NATIVE_TAKEN))
        return thrum_event_wait_until(&t->gone, deadline);
    thi_thread_join(t->handle); /* I2 */
    thrum_event_set(&t->gone);
    return 0;
}

static int await_end(struct thrum_thread *t, thrum_time_t deadline)
{
    uint32_t state = thi_load_acquire(&t->state); /* A1: acquire; pairs with the store of ENDED */
    if (state == THI_THREAD_LOST)
        return EOWNERDEAD;
    if (state == THI_THREAD_NEW || state == THI_THREAD_STARTING)
        return EINVAL;
    if (t->foreign)
        return ENOTSUP;
    if (state != THI_THREAD_ENDED) {
        const int err = thrum_event_wait_until(&t->ended, deadline);
        if (err != 0)
            return err;
        state = thi_load_acquire(&t->state); /* A1 */
    }
    if (state == THI_THREAD_LEAVING) /* then `gone` is never set */
        return thi_known_awaited() ? EDEADLK : thrum_event_wait_until(&t->gone, deadline);
    return await_gone(t, deadline);
}

static int join(struct thrum_thread *t, void **result, thrum_time_t deadline, int too_late)
{
    if (t == NULL)
        return EINVAL;
    if (t == thi_thread_self())
        return EDEADLK;
    const int err = await_end(t, deadline);
    if (err != 0)
        return err == ETIMEDOUT ? too_late : err;
    if (result != NULL)
        *result = t->result;
    return t->status;
}

int thrum_thread_join(thrum_thread_t *t, void **result)
{
    return join(t, result, THRUM_FOREVER, ETIMEDOUT);
}

int thrum_thread_tryjoin(thrum_thread_t *t, void **result)
{
    return join(t, result, 0, EAGAIN);
}

int thrum_thread_join_until(thrum_thread_t *t, void **result, thrum_time_t deadline)
{
    return join(t, result, deadline, ETIMEDOUT);
}

int thrum_thread_cancel(thrum_thread_t *t)
{
    if (t == NULL)
        return EINVAL;
    thi_threads_enter();
    t->cancelled = true;
    /* A thread's strand is of the thread kind, the wake of which takes no lock: it may be made here. */
    if (t->strand != NULL)
        thi_strand_cancel(t->strand); /* I1 */
    thi_threads_leave();
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Asking and setting
 */

int thrum_thread_set_daemon(thrum_thread_t *t, bool daemon)
{
    if (t == NULL)
        return EINVAL;
    if (thi_load_relaxed(&t->state) != THI_THREAD_NEW)
        return EBUSY;
    thi_store_relaxed(&t->daemon, (uint32_t)daemon);
    return 0;
}

bool thrum_thread_daemon(const thrum_thread_t *t)
{
    return t != NULL && thi_load_relaxed(&t->daemon) != 0;
}

int thrum_thread_set_name(thrum_thread_t *t, const char *name)
{
    if (t == NULL || name == NULL)
        return EINVAL;
    const size_t size = strlen(name) + 1;
    char *made = NULL;
    if (size > sizeof t->short_name && (made = thi_alloc(size)) == NULL)
        return ENOMEM;

    thi_threads_enter();
    char *old = t->name;
    const size_t old_size = t->name_size;
    t->name = made != NULL ? made : t->short_name;
    t->name_size = size;
    memmove(t->name, name, size); /* it may be a part of the old one */
    if (t->named_here)
        thi_thread_set_name(t->handle, t->name);
    thi_threads_leave();
    free_name(old, old_size, t);
    return 0;
}

const char *thrum_thread_name(const thrum_thread_t *t)
{
    if (t == NULL)
        return "";
    thi_threads_enter();
    const char *name = t->name;
    thi_threads_leave();
    return name;
}

bool thrum_thread_alive(const thrum_thread_t *t)
{
    /* A1: acquire; as a join. */
    const uint32_t state = t != NULL ? thi_load_acquire(&t->state) : THI_THREAD_NEW;
    return state == THI_THREAD_STARTED || state == THI_THREAD_LEAVING;
}

uint64_t thrum_thread_ident(const thrum_thread_t *t)
{
    return t != NULL ? thi_load_relaxed(&t->ident) : 0;
}

/* A thread that was just started may not have said its number yet. */
static uint32_t await_native_id(struct thrum_thread *t)
{
    uint32_t id = 0;
    thi_cas_relaxed(&t->native_id, &id, AWAITED);
    while ((id = thi_load_acquire(&t->native_id)) == AWAITED) /* A2: pairs with R2 */
        thi_futex_wait(&t->native_id, AWAITED, THRUM_FOREVER);
    return id;
}

pid_t thrum_thread_native_id(thrum_thread_t *t)
{
    if (t == NULL)
        return 0;
    if (t == &thi_main_thread && thrum_thread_alive(t))
        return (pid_t)thi_thread_main_id();
    if (!thrum_thread_alive(t)) {
        const uint32_t id = thi_load_relaxed(&t->native_id);
        return id != AWAITED ? (pid_t)id : 0;
    }
    return (pid_t)await_native_id(t);
}
