/*
 * One process's life; object.h has its states.
 *
 * Whoever wants to know whether a child has ended asks the system, under the lock, so that one alone takes the
 * status. Who waits does so on the child's descriptor, as many as want to, and asks again.
 *
 * Invariants
 *   I1  The descriptor is closed under the lock, once the end is known and `waiters` is 0: its number is
 *       never another's while somebody waits on it.
 *   I2  `exit_code` is written before the store of ENDED, and not again.
 *   I3  `child` is the system's (os.h) from the start on: it does not move, and is not copied.
 *   I4  `daemon` changes under the lock, and only of one that is NEW. A start looks at it after it has had the lock
 *       (thi_family_add), and the state is STARTING by then: so all that it does is of one mind.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <thrum/io.h>

#include "process/object.h"

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static void free_name(char *name, size_t size, const struct thrum_process *p)
{
    if (name != p->short_name)
        thi_free(name, size);
}

static void dispose(struct thrum_process *p)
{
    thi_process_close(&p->child);
    free_name(p->name, p->name_size, p);
    if (p->bytes != NULL)
        thi_free(p->bytes, p->size);
    thi_free(p, sizeof *p);
}

void thi_process_drop(struct thrum_process *p)
{
    /* R1: release, acquire: the last to drop it comes after the others. */
    if (p != NULL && thi_fetch_sub_acq_rel(&p->refs, 1u) == 1)
        dispose(p);
}

thrum_process_t *thrum_process_retain(thrum_process_t *p)
{
    if (p != NULL)
        thi_fetch_add_relaxed(&p->refs, 1u); /* relaxed: the caller has one */
    return p;
}

void thrum_process_release(thrum_process_t *p)
{
    thi_process_drop(p);
}

static bool valid(const thrum_process_config_t *config, const void *arg)
{
    if (!THI_IS_CONFIG(config))
        return false;
    if (config->start != THRUM_START_FORK && config->start != THRUM_START_SPAWN)
        return false;
    if (config->bytes == NULL && config->size != 0)
        return false;
    return arg == NULL || (config->bytes == NULL && config->start == THRUM_START_FORK);
}

static int copy_bytes(struct thrum_process *p, const thrum_process_config_t *config)
{
    if (config->bytes == NULL)
        return 0;
    p->bytes = thi_alloc(config->size != 0 ? config->size : 1);
    if (p->bytes == NULL)
        return ENOMEM;
    memcpy(p->bytes, config->bytes, config->size);
    p->size = config->size;
    p->arg = p->bytes;
    return 0;
}

int thrum_process_create(thrum_process_t **p, thrum_fn fn, void *arg,
                         const thrum_process_config_t *config)
{
    static const thrum_process_config_t defaults = THRUM_PROCESS_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (p == NULL || fn == NULL || !valid(config, arg))
        return EINVAL;
    const char *registered = config->start == THRUM_START_SPAWN ? thi_spawn_name(fn) : NULL;
    if (config->start == THRUM_START_SPAWN && registered == NULL)
        return EINVAL;
    struct thrum_process *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->refs = 1;
    made->fn = fn;
    made->arg = arg;
    made->registered = registered;
    made->daemon = config->daemon;
    made->name = made->short_name;
    thi_process_none(&made->child);
    int err = copy_bytes(made, config);
    if (err == 0 && config->name != NULL)
        err = thrum_process_set_name(made, config->name);
    if (err == 0)
        *p = made;
    else
        thi_process_drop(made);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Running
 */

static void write_out(void)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    fflush(stdout);
    fflush(stderr);
    thi_cancel_restore(cancel);
    errno = saved;
}

void thi_process_run(struct thrum_process *self)
{
    void *result = NULL;
    if (self->name[0] != '\0')
        thi_thread_set_name(thi_thread_handle(), self->name);
    const int status = self->fn(self->arg, &result);
    thi_exit_wait();
    write_out();
    thi_process_leave(status >= 0 && status <= UINT8_MAX ? status : UINT8_MAX);
}

static int make_child(struct thrum_process *p)
{
    const bool daemon = thi_load_relaxed(&p->daemon) != 0;
    write_out(); /* else the child has it as well, or writes before it */
    if (p->registered != NULL)
        return thi_spawn(p);
    struct thrum_process *parent = thrum_process_current();
    const pid_t parent_pid = thrum_process_pid(parent);
    const int err = thi_process_fork(&p->child, daemon);
    if (err == 0 && p->child.pid == 0) {
        thi_family_begin(p, parent, parent_pid);
        thi_process_run(p);
    }
    return err;
}

static int start(struct thrum_process *p)
{
    int err = thi_family_add(p);
    if (err != 0) {
        thi_store_release(&p->state, THI_PROCESS_NEW); /* R2: release; pairs with A2 */
        return err;
    }
    err = make_child(p);
    thi_processes_enter();
    if (err == 0)
        thi_store_relaxed(&p->pid, (uint32_t)p->child.pid);
    else
        thi_family_remove(p);
    /* R2: release; pairs with A2, and with A1 for the number. */
    thi_store_release(&p->state, err == 0 ? THI_PROCESS_STARTED : THI_PROCESS_NEW);
    thi_processes_leave();
    thrum_event_set(&p->begun);
    if (err != 0)
        thi_process_drop(p);
    return err;
}

int thrum_process_start(thrum_process_t *p)
{
    uint32_t state = THI_PROCESS_NEW;
    /* A2: acquire; pairs with R2. */
    if (p == NULL || !thi_cas_acquire(&p->state, &state, THI_PROCESS_STARTING))
        return EINVAL;
    thrum_event_clear(&p->begun); /* of a start that failed */
    thrum_process_retain(p);      /* it may be over, and its handle given up, at once */
    const int err = start(p);
    thi_process_drop(p);
    return err;
}

int thrum_process_spawn(thrum_process_t **p, thrum_fn fn, void *arg,
                        const thrum_process_config_t *config)
{
    thrum_process_t *made = NULL;
    int err = thrum_process_create(&made, fn, arg, config);
    if (err != 0)
        return err;
    err = thrum_process_start(made);
    if (err == 0 && p != NULL)
        *p = made;
    else
        thrum_process_release(made);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

/* Under the lock. */
static void close_child(struct thrum_process *p)
{
    if (p->waiters == 0) /* I1 */
        thi_process_close(&p->child);
}

int thi_process_look(struct thrum_process *p, struct thrum_process **ended)
{
    switch (thi_load_relaxed(&p->state)) { /* relaxed: under the lock */
    case THI_PROCESS_STARTED:
        break;
    case THI_PROCESS_ENDED:
        return 0;
    case THI_PROCESS_LOST:
        return EPERM;
    case THI_PROCESS_SELF:
        return EDEADLK;
    case THI_PROCESS_PARENT:
        return thi_family_parent_alive(p) ? EAGAIN : 0;
    default:
        return EINVAL;
    }
    int status = 0;
    if (thi_process_poll(&p->child, &status) != 0)
        return EAGAIN;
    p->exit_code = status;
    thi_family_remove(p);
    *ended = p;
    /* R3: release; pairs with A1: the exit code (I2). */
    thi_store_release(&p->state, THI_PROCESS_ENDED);
    close_child(p);
    return 0;
}

/* As look; EAGAIN: the caller is a waiter on `*fd`. */
static int look_to_wait(struct thrum_process *p, int *fd)
{
    struct thrum_process *ended = NULL;
    thi_processes_enter();
    int err = thi_process_look(p, &ended);
    if (err == EAGAIN && thi_load_relaxed(&p->state) == THI_PROCESS_PARENT && p->child.pidfd < 0)
        err = thi_process_watch_parent(&p->child, (pid_t)thi_load_relaxed(&p->pid));
    if (err == EAGAIN) {
        p->waiters++;
        *fd = p->child.pidfd;
    }
    thi_processes_leave();
    thi_process_drop(ended);
    return err;
}

static void waited(struct thrum_process *p)
{
    thi_processes_enter();
    p->waiters--;
    if (thi_load_relaxed(&p->state) == THI_PROCESS_ENDED)
        close_child(p);
    thi_processes_leave();
}

int thi_process_await(struct thrum_process *p, thrum_time_t deadline)
{
    int fd = -1;
    int err = EAGAIN;
    while ((err = look_to_wait(p, &fd)) == EAGAIN) {
        err = thrum_io_wait(fd, THRUM_IO_IN, deadline);
        waited(p);
        if (err != 0)
            break;
    }
    return err;
}

int thi_process_await_hard(struct thrum_process *p, thrum_time_t deadline)
{
    int fd = -1;
    int err = EAGAIN;
    while ((err = look_to_wait(p, &fd)) == EAGAIN) {
        thi_polled_t polled = {fd, THI_POLL_IN, 0};
        err = thi_poll(&polled, 1, deadline);
        waited(p);
        if (err != 0)
            break;
    }
    return err;
}

static int look(struct thrum_process *p)
{
    struct thrum_process *ended = NULL;
    if (thi_load_acquire(&p->state) == THI_PROCESS_ENDED) /* A1: acquire; pairs with R3 */
        return 0;
    thi_processes_enter();
    const int err = thi_process_look(p, &ended);
    thi_processes_leave();
    thi_process_drop(ended);
    return err;
}

static int tell(const struct thrum_process *p, int err, int *exit_code)
{
    if (err == 0 && exit_code != NULL)
        *exit_code = p->exit_code;
    return err;
}

int thrum_process_join(thrum_process_t *p, int *exit_code)
{
    return p != NULL ? tell(p, thi_process_await(p, THRUM_FOREVER), exit_code) : EINVAL;
}

int thrum_process_tryjoin(thrum_process_t *p, int *exit_code)
{
    return p != NULL ? tell(p, look(p), exit_code) : EINVAL;
}

int thrum_process_join_until(thrum_process_t *p, int *exit_code, thrum_time_t deadline)
{
    return p != NULL ? tell(p, thi_process_await(p, deadline), exit_code) : EINVAL;
}

int thrum_process_exit_code(thrum_process_t *p, int *exit_code)
{
    if (p == NULL)
        return EINVAL;
    if (thi_load_relaxed(&p->state) == THI_PROCESS_PARENT)
        return ENOTSUP;
    const int err = look(p);
    return err == EAGAIN || err == EDEADLK ? EBUSY : tell(p, err, exit_code);
}

bool thrum_process_alive(thrum_process_t *p)
{
    const int err = p != NULL ? look(p) : EINVAL;
    return err == EAGAIN || err == EDEADLK;
}

int thrum_process_signal(thrum_process_t *p, int signal)
{
    if (p == NULL)
        return EINVAL;
    int err = EINVAL;
    thi_processes_enter();
    switch (thi_load_relaxed(&p->state)) { /* relaxed: under the lock */
    case THI_PROCESS_STARTED:
        err = thi_process_signal(&p->child, signal);
        break;
    case THI_PROCESS_ENDED:
        err = ESRCH;
        break;
    case THI_PROCESS_LOST:
        err = EPERM;
        break;
    case THI_PROCESS_SELF:
    case THI_PROCESS_PARENT:
        err = ENOTSUP;
        break;
    default:
        break;
    }
    thi_processes_leave();
    return err == ESRCH ? 0 : err;
}

int thrum_process_terminate(thrum_process_t *p)
{
    return thrum_process_signal(p, SIGTERM);
}

int thrum_process_kill(thrum_process_t *p)
{
    return thrum_process_signal(p, SIGKILL);
}

/* ------------------------------------------------------------------------------------------------
 * Asking and setting
 */

pid_t thrum_process_pid(const thrum_process_t *p)
{
    if (p == NULL)
        return 0;
    /* A1: acquire; pairs with R2. */
    if (thi_load_acquire(&p->state) == THI_PROCESS_SELF)
        return (pid_t)thi_thread_main_id();
    return (pid_t)thi_load_relaxed(&p->pid);
}

bool thrum_process_daemon(const thrum_process_t *p)
{
    return p != NULL && thi_load_relaxed(&p->daemon) != 0;
}

int thrum_process_set_daemon(thrum_process_t *p, bool daemon)
{
    if (p == NULL)
        return EINVAL;
    thi_processes_enter(); /* I4 */
    const bool is_new = thi_load_relaxed(&p->state) == THI_PROCESS_NEW;
    if (is_new)
        thi_store_relaxed(&p->daemon, (uint32_t)daemon);
    thi_processes_leave();
    return is_new ? 0 : EBUSY;
}

size_t thrum_process_size(const thrum_process_t *p)
{
    return p != NULL ? p->size : 0;
}

int thrum_process_set_name(thrum_process_t *p, const char *name)
{
    if (p == NULL || name == NULL)
        return EINVAL;
    const size_t size = strlen(name) + 1;
    char *made = NULL;
    if (size > sizeof p->short_name && (made = thi_alloc(size)) == NULL)
        return ENOMEM;

    thi_processes_enter();
    char *old = p->name;
    const size_t old_size = p->name_size;
    p->name = made != NULL ? made : p->short_name;
    p->name_size = size;
    memmove(p->name, name, size); /* it may be a part of the old one */
    thi_processes_leave();
    free_name(old, old_size, p);
    return 0;
}

const char *thrum_process_name(const thrum_process_t *p)
{
    if (p == NULL)
        return "";
    thi_processes_enter();
    const char *name = p->name;
    thi_processes_leave();
    return name;
}
