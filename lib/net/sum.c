/*
 * XXH64, as its specification has it, with the seed 0: four lanes take 8 bytes each in turn; what is left over goes in
 * at the end.
 */
#include <string.h>

#include "net/sum.h"

#define P1 UINT64_C(11400714785074694791)
#define P2 UINT64_C(14029467366897019727)
#define P3 UINT64_C(1609587929392839161)
#define P4 UINT64_C(9650029242287828579)
#define P5 UINT64_C(2870177450012600261)
#define STRIPE ((size_t)32)

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static uint64_t load(const unsigned char *p, unsigned bytes)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static uint64_t take_in(uint64_t lane, uint64_t x)
{
    return rotate(lane + x * P2, 31) * P1;
}

static const unsigned char *add_stripes(uint64_t lanes[4], const unsigned char *p, size_t stripes)
{
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    for (; stripes != 0; stripes--, p += STRIPE) {
        a = take_in(a, load(p, 8));
        b = take_in(b, load(p + 8, 8));
        c = take_in(c, load(p + 16, 8));
        d = take_in(d, load(p + 24, 8));
    }
    lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
    return p;
}

void thi_sum_begin(thi_sum_t *sum)
{
    *sum = (thi_sum_t){.lanes = {P1 + P2, P2, 0, UINT64_C(0) - P1}};
}

void thi_sum_add(thi_sum_t *sum, const void *data, size_t size)
{
    const unsigned char *p = data;
    const size_t kept = (size_t)(sum->size % STRIPE);
    if (size == 0)
        return;
    sum->size += size;
    if (kept + size < STRIPE) {
        memcpy(sum->rest + kept, p, size);
        return;
    }
    if (kept != 0) {
        memcpy(sum->rest + kept, p, STRIPE - kept);
        (void)add_stripes(sum->lanes, sum->rest, 1);
        p += STRIPE - kept;
        size -= STRIPE - kept;
    }
    p = add_stripes(sum->lanes, p, size / STRIPE);
    memcpy(sum->rest, p, size % STRIPE);
}

static uint64_t add_rest(uint64_t h, const unsigned char *p, size_t left)
{
    for (; left >= 8; p += 8, left -= 8)
        h = rotate(h ^ take_in(0, load(p, 8)), 27) * P1 + P4;
    for (; left >= 4; p += 4, left -= 4)
        h = rotate(h ^ load(p, 4) * P1, 23) * P2 + P3;
    for (; left != 0; p++, left--)
        h = rotate(h ^ *p * P5, 11) * P1;
    return h;
}

uint64_t thi_sum_value(const thi_sum_t *sum)
{
    static const unsigned turns[4] = {1, 7, 12, 18};
    uint64_t h = 0;
    if (sum->size >= STRIPE) {
        for (int i = 0; i < 4; i++)
            h += rotate(sum->lanes[i], turns[i]);
        for (int i = 0; i < 4; i++)
            h = (h ^ take_in(0, sum->lanes[i])) * P1 + P4;
    } else {
        h = P5;
    }
    h = add_rest(h + sum->size, sum->rest, (size_t)(sum->size % STRIPE));
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
