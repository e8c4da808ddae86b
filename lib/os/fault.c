/*
 * Fault injection for the tests: makes the n-th call of a function that may fail do so; kills the process at
 * the n-th point of those where its death would matter.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

#ifdef THRUM_TEST
static uint32_t countdown[THI_FAULT_KINDS];

void thi_fault_arm(thi_fault_t kind, unsigned nth)
{
    thi_store_relaxed(&countdown[kind], nth);
}

bool thi_fault(thi_fault_t kind)
{
    const uint32_t left = thi_load_relaxed(&countdown[kind]);
    if (left == 0 || left == THI_FAULT_ALWAYS)
        return left != 0;
    return thi_fetch_sub_relaxed(&countdown[kind], 1u) == 1;
}

static uint32_t death;
static char *death_note;
static const char *stop;

void thi_death_arm(unsigned nth, char *note)
{
    death_note = note;
    thi_store_relaxed(&death, nth);
}

void thi_stop_arm(const char *name)
{
    stop = name;
}

static void end_here(int signal)
{
    const int saved = errno;
    kill(getpid(), signal);
    errno = saved;
}

void thi_death_point(const char *name)
{
    if (stop != NULL && strcmp(stop, name) == 0) {
        stop = NULL;
        end_here(SIGSTOP);
    }
    if (thi_load_relaxed(&death) == 0 || thi_fetch_sub_relaxed(&death, 1u) != 1)
        return;
    if (death_note != NULL)
        strncpy(death_note, name, THI_DEATH_NOTE - 1);
    end_here(SIGKILL);
}
#else
typedef int thi_no_faults; /* a translation unit may not be empty */
#endif
