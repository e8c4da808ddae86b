/*
 * The order of locks, in checked builds: a graph with an edge from each lock that was held to each
 * that was wanted then. Two strands that go round a circle of it in step are deadlocked, so a circle
 * is reported even when nobody has met there yet.
 *
 * A circle is complete with the edge that comes last. That one is marked, and a report looks from it
 * for the way back: once for each pair of locks, and not at all when a lock on the only way back has
 * been destroyed since.
 *
 * All under the check lock.
 */
#include "strand/check.h"

#ifdef THRUM_CHECKED

static thi_edge_t *edge_of_first(thi_link_t *link)
{
    return THI_CONTAINER_OF(link, thi_edge_t, of_first);
}

static thi_edge_t *edge_of_second(thi_link_t *link)
{
    return THI_CONTAINER_OF(link, thi_edge_t, of_second);
}

/* NULL: none. Looks through both ends' lists in step: one may be long (a lock that is taken with
 * everything), but hardly both. */
static const thi_edge_t *find_edge(const thi_known_t *first, const thi_known_t *second)
{
    thi_link_t *later = first->later;
    thi_link_t *earlier = second->earlier;
    while (later != NULL && earlier != NULL) {
        if (edge_of_first(later)->second == second)
            return edge_of_first(later);
        if (edge_of_second(earlier)->first == first)
            return edge_of_second(earlier);
        later = later->next;
        earlier = earlier->next;
    }
    return NULL;
}

/* Finds a shortest way from `from` to `to`, backwards, so that `onward` leads along it forwards. */
static bool find_way(const thi_known_t *from, thi_known_t *to)
{
    static uint64_t visit;
    visit++;
    to->visit = visit;
    to->next = NULL;
    for (thi_known_t *head = to, *tail = to; head != NULL; head = head->next) {
        if (head == from)
            return true;
        for (thi_link_t *link = head->earlier; link != NULL; link = link->next) {
            thi_known_t *before = edge_of_second(link)->first;
            if (before->visit == visit)
                continue;
            before->visit = visit;
            before->onward = edge_of_second(link);
            before->next = NULL;
            tail->next = before;
            tail = before;
        }
    }
    return false;
}

void thi_order_add(thi_known_t *first, thi_known_t *second, const thi_order_t *order)
{
    thi_edge_t *edge = find_edge(first, second) == NULL ? thi_known_alloc() : NULL;
    if (edge == NULL)
        return;
    edge->first = first;
    edge->second = second;
    edge->order = *order;
    edge->inverts = find_way(second, first);
    thi_link_in(&first->later, &edge->of_first);
    thi_link_in(&second->earlier, &edge->of_second);
}

static void drop_edge(thi_edge_t *edge)
{
    thi_link_out(&edge->of_first);
    thi_link_out(&edge->of_second);
    thi_known_free(edge);
}

void thi_order_forget(thi_known_t *known)
{
    while (known->later != NULL) {
        thi_edge_t *edge = edge_of_first(known->later);
        thi_known_t *other = edge->second;
        drop_edge(edge);
        thi_known_tidy(other);
    }
    while (known->earlier != NULL) {
        thi_edge_t *edge = edge_of_second(known->earlier);
        thi_known_t *other = edge->first;
        drop_edge(edge);
        thi_known_tidy(other);
    }
}

/* ------------------------------------------------------------------------------------------------
 * For the report
 */

struct orders {
    thi_order_t *out;
    size_t max;
    size_t count;
};

static void put(struct orders *orders, const thi_edge_t *edge, bool begins)
{
    if (orders->count < orders->max) {
        orders->out[orders->count] = edge->order;
        orders->out[orders->count].begins = begins;
    }
    orders->count++;
}

/* Both edges between two locks are marked when the first of them closed a longer circle. */
static bool is_other_half(const thi_edge_t *edge)
{
    const thi_edge_t *back = find_edge(edge->second, edge->first);
    return back != NULL && back->inverts && edge->first > edge->second;
}

static void put_inversions(thi_known_t *known, void *arg)
{
    for (thi_link_t *link = known->later; link != NULL; link = link->next) {
        const thi_edge_t *edge = edge_of_first(link);
        if (!edge->inverts || is_other_half(edge) || !find_way(edge->second, known))
            continue;
        put(arg, edge, true);
        for (const thi_known_t *at = edge->second; at != known; at = at->onward->second)
            put(arg, at->onward, false);
    }
}

size_t thi_order_inversions(thi_order_t *out, size_t max)
{
    struct orders orders = {out, max, 0};
    thi_known_each(put_inversions, &orders);
    return orders.count;
}

#else
typedef int thi_no_order; /* a translation unit may not be empty */
#endif
