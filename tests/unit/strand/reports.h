#ifndef TESTS_STRAND_REPORTS_H
#define TESTS_STRAND_REPORTS_H

/*
 * Who sleeps on what, and looking for something in a report.
 */

#include <sched.h>
#include <string.h>

#include "strand/strand.h"

struct looking {
    const void *object;
    unsigned found;
};

static inline void look(thi_strand_t *strand, void *arg)
{
    struct looking *l = arg;
    const bool asleep = thi_load_relaxed(&strand->site) != NULL;
    l->found += asleep && thi_load_relaxed(&strand->object) == l->object;
}

static inline unsigned count_asleep(const void *object)
{
    struct looking l = {object, 0};
    thi_strand_each(look, &l);
    return l.found;
}

/* Waits until n strands have gone to sleep on the object. */
static inline void await_asleep(const void *object, unsigned n)
{
    do
        sched_yield();
    while (count_asleep(object) != n);
}

__attribute__((noinline, unused)) static unsigned count_of(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        n++;
    return n;
}

#endif /* TESTS_STRAND_REPORTS_H */
