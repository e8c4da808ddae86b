/*
 * Pictures of who waits.
 *
 * Memory with a line for every strand is filled under the locks of the parking lot and read when they
 * have been given up. A word of an object is read only while one of its waiters is queued, so that
 * the object exists.
 *
 * A steady picture is made of two: only waits that are the same in both are in it. Such a strand slept
 * from the first look at it to the last, so between the two pictures all of them slept. Asleep, none
 * of them could sign a lock (nor be signed for by who hands it one: that takes it off the queue), so
 * a lock that bears the signature of one of them in both was its own all the while. What the checked
 * build knows of holders is looked up between the two, in one moment. So a circle in a steady picture
 * is a real one.
 */
#include "strand/picture.h"

thi_line_t *thi_picture_line(const thi_picture_t *p, uint32_t id)
{
    return THI_SLOT(id) < p->slots ? &p->lines[THI_SLOT(id)] : NULL;
}

static void see(thi_picture_t *p, const thi_strand_t *strand, const thi_site_t *site,
                const void *object, uint32_t owner)
{
    const uint32_t id = thi_load_relaxed(&strand->id);
    thi_line_t *line = thi_picture_line(p, id);
    if (line == NULL || line->id != 0)
        return;
    const bool sleeps = thi_load_relaxed(&strand->site) != NULL;
    *line = (thi_line_t){.id = id,
                         .site = site,
                         .object = object,
                         .owner = owner,
                         .since = sleeps ? thi_load_relaxed(&strand->since) : p->taken,
                         .wait = sleeps ? thi_load_relaxed(&strand->waits) : 0};
    p->waiting++;
}

/* Under the bucket's lock. */
static void see_queued(const thi_waiter_t *waiter, void *arg)
{
    const thi_site_t *site = waiter->site;
    const uint32_t owner = site->owner != NULL ? site->owner(waiter->key) : 0;
    see(arg, waiter->wait->strand, site, waiter->key, owner);
}

static void see_strand(thi_strand_t *strand, void *arg)
{
    const thi_site_t *site = thi_load_relaxed(&strand->site);
    if (site != NULL)
        see(arg, strand, site, thi_load_relaxed(&strand->object), 0);
}

static size_t bytes_of_lines(const thi_picture_t *p)
{
    return ((size_t)p->slots + 1) * sizeof *p->lines;
}

/* False: no memory. */
static bool take_picture(thi_picture_t *p)
{
    *p = (thi_picture_t){.slots = thi_strand_slots(), .taken = thi_clock()};
    p->lines = thi_pages_map(bytes_of_lines(p));
    if (p->lines == NULL)
        return false;
    thi_lot_each(see_queued, p);
    thi_strand_each(see_strand, p); /* those that wait elsewhere */
    return true;
}

void thi_picture_drop(thi_picture_t *p)
{
    if (p->lines != NULL)
        thi_pages_unmap(p->lines, bytes_of_lines(p));
    if (p->claims != NULL)
        thi_pages_unmap(p->claims, p->claim_room * sizeof *p->claims);
}

/* Makes room for that many. False: no memory. */
static bool make_room(thi_picture_t *p, size_t count)
{
    if (p->claims != NULL)
        thi_pages_unmap(p->claims, p->claim_room * sizeof *p->claims);
    p->claim_room = count;
    p->claims = thi_pages_map(count * sizeof *p->claims);
    return p->claims != NULL;
}

/* A strand claims a lock against each holder once. */
static void attach_claim(const thi_picture_t *p, size_t i)
{
    thi_claim_t *claim = &p->claims[i];
    thi_line_t *waiter = thi_picture_line(p, claim->waiter);
    thi_line_t *holder = thi_picture_line(p, claim->holder);
    if (holder != NULL && holder->seen == claim->waiter)
        claim->holder = 0;
    else if (holder != NULL)
        holder->seen = claim->waiter;
    if (waiter == NULL || waiter->id != claim->waiter)
        return;
    if (waiter->claims_end == 0)
        waiter->claims = i;
    waiter->claims_end = i + 1;
}

/* Adds what the checked build knows of holders. False: no memory. */
static bool add_claims(thi_picture_t *p)
{
    size_t count = 0;
    while ((count = thi_check_claims(p->claims, p->claim_room)) > p->claim_room) {
        if (!make_room(p, count * 2))
            return false;
    }
    for (size_t i = 0; i < count; i++)
        attach_claim(p, i);
    return true;
}

static bool is_same(const thi_line_t *a, const thi_line_t *b)
{
    return a->wait != 0 && a->id == b->id && a->site == b->site && a->object == b->object &&
           a->wait == b->wait && a->owner == b->owner;
}

/* Leaves only the waits that a later picture shows as well. */
static void keep_same(thi_picture_t *p, const thi_picture_t *later)
{
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        if (!is_same(&p->lines[slot], &later->lines[slot]))
            p->lines[slot].id = 0;
    }
}

bool thi_picture_take(thi_picture_t *p)
{
    return take_picture(p) && add_claims(p);
}

bool thi_picture_take_steady(thi_picture_t *p)
{
    thi_picture_t later = {0};
    const bool taken = thi_picture_take(p) && take_picture(&later);
    if (taken)
        keep_same(p, &later);
    thi_picture_drop(&later);
    return taken;
}

const thi_claim_t *thi_picture_claim(const thi_picture_t *p, const thi_line_t *line,
                                     uint32_t holder)
{
    for (size_t i = line->claims; i < line->claims_end; i++) {
        if (p->claims[i].holder == holder)
            return &p->claims[i];
    }
    return NULL;
}
