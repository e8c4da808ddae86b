/*
 * Who holds a lock is killed: the next is told, and mends what the lock guards. Money goes from one account to the
 * other; the journal says what the dead one was about.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/thrum.h>

struct bank {
    thrum_shared_mutex_t lock;
    thrum_shared_event_t half_way;
    int from, to;
    int moving; /* the journal: what is under way, 0 when nothing is */
    int from_before;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Undoes what was done half. */
static void mend(struct bank *bank)
{
    if (bank->moving != 0) {
        bank->from = bank->from_before;
        bank->moving = 0;
    }
}

static void lock(struct bank *bank)
{
    const int err = thrum_shared_mutex_lock(&bank->lock);
    if (err == EOWNERDEAD) {
        printf("whoever held the lock has died, with %d on the way\n", bank->moving);
        mend(bank);
    } else {
        must(err);
    }
}

static void move(struct bank *bank, int amount, int killed)
{
    lock(bank);
    bank->from_before = bank->from;
    bank->moving = amount;
    bank->from -= amount;
    if (killed) {
        thrum_shared_event_set(&bank->half_way);
        pause(); /* it never gets any further */
    }
    bank->to += amount;
    bank->moving = 0;
    must(thrum_shared_mutex_unlock(&bank->lock));
}

int main(void)
{
    thrum_shared_t *arena = NULL;
    struct bank *bank = NULL;
    must(thrum_shared_create(&arena, NULL));
    must(thrum_shared_alloc(arena, sizeof *bank, (void **)&bank));
    must(thrum_shared_mutex_init(&bank->lock));
    bank->from = 100;

    const pid_t pid = fork();
    if (pid == 0) {
        move(bank, 30, 1);
        _exit(EXIT_FAILURE);
    }
    must(thrum_shared_event_wait(&bank->half_way));

    /* While it lives it keeps the lock, however long it takes. */
    printf("while it lives: %s\n",
           thrum_strerror(thrum_shared_mutex_lock_until(&bank->lock, thrum_after(THRUM_MS(10)))));
    kill(pid, SIGKILL);
    move(bank, 50, 0);
    waitpid(pid, NULL, 0);
    printf("%d and %d\n", bank->from, bank->to);
    thrum_shared_destroy(arena);
    return EXIT_SUCCESS;
}
