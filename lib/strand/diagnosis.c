/*
 * What is going on: who waits on what, and who waits for whom in a circle. Pictures of that are taken
 * in picture.c; here they are searched and written, under none of the library's locks. Writing to a stream is
 * a cancellation point of pthreads, and no call of the library may be one.
 */
#include <thrum/diagnosis.h>

#include <string.h>

#include "strand/picture.h"

/* ------------------------------------------------------------------------------------------------
 * Writing
 */

void thi_describe_object(const thi_site_t *site, const void *object, char *buf, size_t size)
{
    char symbol[THI_NAME_SIZE];
    thi_symbol_name(object, symbol, sizeof symbol);
    if (object == NULL)
        snprintf(buf, size, "%s", site->what);
    else if (symbol[0] == '\0')
        snprintf(buf, size, "%s %p", site->what, object);
    else
        snprintf(buf, size, "%s %p (%s)", site->what, object, symbol);
}

static void write_object(FILE *out, const thi_site_t *site, const void *object)
{
    char text[2 * THI_NAME_SIZE];
    thi_describe_object(site, object, text, sizeof text);
    fputs(text, out);
}

static void write_strand(FILE *out, uint32_t id)
{
    char name[THI_NAME_SIZE];
    thi_strand_describe(id, name, sizeof name);
    fputs(strcmp(name, "?") == 0 ? "a strand that has ended" : name, out);
}

/* The return address belongs to what comes after the call. */
static void write_call(FILE *out, const void *caller)
{
    char symbol[THI_NAME_SIZE];
    const char *call = caller != NULL ? (const char *)caller - 1 : NULL;
    thi_symbol_name(call, symbol, sizeof symbol);
    if (symbol[0] != '\0')
        fputs(symbol, out);
    else
        fprintf(out, "%p", (const void *)call);
}

static void write_duration(FILE *out, thrum_time_t ns)
{
    static const struct {
        thrum_time_t size;
        const char *name;
    } units[] = {{THRUM_S(3600), "h"},
                 {THRUM_S(60), "min"},
                 {THRUM_S(1), "s"},
                 {THRUM_MS(1), "ms"},
                 {THRUM_US(1), "us"}};
    size_t i = 0;
    while (i + 1 < sizeof units / sizeof units[0] && ns < units[i].size)
        i++;
    fprintf(out, "%.1f %s", (double)ns / (double)units[i].size, units[i].name);
}

/* "held by thread 7 "a", locked at f+0x1f" */
static void write_holder(FILE *out, uint32_t holder, const thi_claim_t *claim)
{
    fputs("held by ", out);
    write_strand(out, holder);
    if (claim == NULL)
        return;
    fputs(claim->shared ? ", shared at " : ", locked at ", out);
    write_call(out, claim->taken);
}

static void write_holders(FILE *out, const thi_picture_t *p, const thi_line_t *line)
{
    if (line->owner != 0) {
        fputs(", ", out);
        write_holder(out, line->owner, thi_picture_claim(p, line, line->owner));
        return;
    }
    for (size_t i = line->claims; i < line->claims_end; i++) {
        const thi_claim_t *claim = &p->claims[i];
        if (claim->holder == 0)
            continue;
        fputs(", ", out);
        if (claim->lock != line->object) { /* a condition, whose lock is held by another strand */
            write_object(out, claim->site, claim->lock);
            fputc(' ', out);
        }
        write_holder(out, claim->holder, claim);
    }
}

static void write_line(FILE *out, const thi_picture_t *p, const thi_line_t *line)
{
    const bool before = line->since < p->taken; /* clocks differ, and waits go on being begun */
    fputs("  ", out);
    write_strand(out, line->id);
    fputs(": ", out);
    write_object(out, line->site, line->object);
    fputs(" for ", out);
    write_duration(out, before ? p->taken - line->since : 0);
    write_holders(out, p, line);
    fputc('\n', out);
}

static void write_picture(FILE *out, const thi_picture_t *p)
{
    fprintf(out, "thrum: %zu strand%s\n", p->waiting, p->waiting == 1 ? " waits" : "s wait");
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        if (p->lines[slot].id != 0)
            write_line(out, p, &p->lines[slot]);
    }
}

void thrum_dump_waiters(FILE *out)
{
    if (out == NULL)
        return;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_picture_t p;
    if (thi_picture_take(&p))
        write_picture(out, &p);
    else
        fputs("thrum: no memory to see who waits\n", out);
    thi_picture_drop(&p);
    thi_cancel_restore(cancel);
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * Circles: a depth-first search along "waits for a lock held by"
 */

#define NEW 0u
#define ON_THE_WAY 1u
#define DONE 2u

/* The next strand that the line's strand waits for: the owner of the lock where the lock names it,
 * else each that the checked build knows. False: there are no more. */
static bool next_holder(const thi_picture_t *p, thi_line_t *line, uint32_t *holder)
{
    const size_t tried = line->tried++;
    if (line->owner != 0) {
        *holder = line->owner;
        line->claim = thi_picture_claim(p, line, line->owner);
        return tried == 0;
    }
    if (line->claims + tried >= line->claims_end)
        return false;
    line->claim = &p->claims[line->claims + tried];
    *holder = line->claim->holder;
    return true;
}

static void write_link(FILE *out, const thi_line_t *line, uint32_t holder)
{
    const thi_claim_t *claim = line->claim;
    fputs("  ", out);
    write_strand(out, line->id);
    fputs(" waits for ", out);
    write_object(out, claim != NULL ? claim->site : line->site,
                 claim != NULL ? claim->lock : line->object);
    if (claim != NULL) {
        fputs(" at ", out);
        write_call(out, claim->wanted);
        fputc(',', out);
    }
    fputc(' ', out);
    write_holder(out, holder, claim);
    fputc('\n', out);
}

static void write_circle(FILE *out, const thi_picture_t *p, uint32_t first)
{
    size_t strands = 0;
    uint32_t slot = first;
    do {
        strands++;
        slot = p->lines[slot].to;
    } while (slot != first);
    fprintf(out, "deadlock: %zu strand%s in a circle\n", strands, strands == 1 ? "" : "s");
    do {
        const thi_line_t *line = &p->lines[slot];
        slot = line->to;
        write_link(out, line, p->lines[slot].id);
    } while (slot != first);
}

/* Goes one step from `at`: on to a new line, or back when there is nowhere to go. Each edge is tried
 * once, and one that leads back into the way closes a circle. Returns where it is then. */
static uint32_t step(const thi_picture_t *p, uint32_t at, FILE *out, size_t *circles)
{
    thi_line_t *line = &p->lines[at];
    uint32_t holder = 0;
    if (!next_holder(p, line, &holder)) {
        line->state = DONE;
        return line->from;
    }
    thi_line_t *next = thi_picture_line(p, holder);
    if (holder == 0 || next == NULL || next->id != holder || next->state == DONE)
        return at;
    line->to = THI_SLOT(holder);
    if (next->state == NEW) {
        next->state = ON_THE_WAY;
        next->from = at;
        return line->to;
    }
    ++*circles;
    if (out != NULL)
        write_circle(out, p, line->to);
    return at;
}

#define NOWHERE UINT32_MAX

static size_t find_circles(const thi_picture_t *p, FILE *out)
{
    size_t circles = 0;
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        thi_line_t *line = &p->lines[slot];
        if (line->id == 0 || line->state == DONE)
            continue;
        line->state = ON_THE_WAY;
        line->from = NOWHERE;
        for (uint32_t at = slot; at != NOWHERE;)
            at = step(p, at, out, &circles);
    }
    return circles;
}

/* ------------------------------------------------------------------------------------------------
 * Inversions
 */

static void write_order(FILE *out, const thi_order_t *order)
{
    fputs(order->begins ? "  " : "    but ", out);
    write_object(out, order->first_site, order->first);
    fputs(", locked at ", out);
    write_call(out, order->taken);
    fputs(", then ", out);
    write_object(out, order->second_site, order->second);
    fputs(" at ", out);
    write_call(out, order->wanted);
    fputc('\n', out);
}

static void write_orders(FILE *out, const thi_order_t *orders, size_t count)
{
    size_t inversions = 0;
    for (size_t i = 0; i < count; i++)
        inversions += orders[i].begins;
    fprintf(out, "lock order inversions: %zu\n", inversions);
    for (size_t i = 0; i < count; i++)
        write_order(out, &orders[i]);
}

static void write_inversions(FILE *out)
{
    thi_order_t *orders = NULL;
    size_t room = 0;
    size_t count = 0;
    while ((count = thi_check_inversions(orders, room)) > room) {
        if (orders != NULL)
            thi_pages_unmap(orders, room * sizeof *orders);
        room = count * 2;
        orders = thi_pages_map(room * sizeof *orders);
        if (orders == NULL) {
            fputs("thrum: no memory to list lock order inversions\n", out);
            return;
        }
    }
    if (count != 0)
        write_orders(out, orders, count);
    if (orders != NULL)
        thi_pages_unmap(orders, room * sizeof *orders);
}

/* What comes after the circles. */
static void write_rest(FILE *out, bool taken, size_t circles)
{
    if (circles == 0)
        fputs(taken ? "thrum: no deadlock\n" : "thrum: no memory to look for deadlocks\n", out);
    write_inversions(out);
    if (thi_check_stopped())
        fputs("thrum: there was no memory to keep track of locks; call sites, readers and "
              "inversions are not known\n",
              out);
}

size_t thrum_deadlock_report(FILE *out)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_picture_t p;
    const bool taken = thi_picture_take_steady(&p);
    const size_t circles = taken ? find_circles(&p, out) : 0;
    thi_picture_drop(&p);
    if (out != NULL)
        write_rest(out, taken, circles);
    thi_cancel_restore(cancel);
    errno = saved;
    return circles;
}

/* ------------------------------------------------------------------------------------------------
 * Errors and version
 */

static const struct {
    int err;
    const char *meaning;
} meanings[] = {
    {0, "success"},
    {EINVAL, "bad argument"},
    {ENOMEM, "no memory"},
    {EBUSY, "taken, or too late to set"},
    {EAGAIN, "not ready"},
    {ETIMEDOUT, "the deadline passed"},
    {ECANCELED, "cancelled"},
    {ESHUTDOWN, "closed: takes no more"},
    {EPIPE, "broken: lost its integrity"},
    {EPERM, "not yours to release"},
    {EDEADLK, "this wait could never end"},
    {EOVERFLOW, "a counter would pass its limit"},
    {EOWNERDEAD, "the holder died"},
    {ECHILD, "the worker process died while running the task"},
    {ENODATA, "exhausted"},
    {ENOTSUP, "not on this kind of object"},
    {ENOSYS, "not on this system"},
};

const char *thrum_strerror(int err)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (meanings[i].err == err)
            return meanings[i].meaning;
    }
    const char *text = thi_error_text(err);
    return text != NULL ? text : "unknown error";
}

#define TEXT_OF(x) #x
#define VERSION(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *thrum_version(void)
{
    return VERSION(THRUM_VERSION_MAJOR, THRUM_VERSION_MINOR, THRUM_VERSION_PATCH);
}
