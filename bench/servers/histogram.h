/* Times in ns, to three per cent: 32 steps in each power of two. */
#ifndef THRUM_BENCH_HISTOGRAM_H
#define THRUM_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 32
#define HISTOGRAM_SIZE (60 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count[HISTOGRAM_SIZE];
    uint64_t total;
};

/* Below HISTOGRAM_STEPS each value has its own place. */
static inline unsigned histogram_place(uint64_t ns)
{
    unsigned octave = 0;
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    octave = 63u - (unsigned)__builtin_clzll(ns) - 4u;
    return octave * HISTOGRAM_STEPS + (unsigned)(ns >> (octave - 1)) - HISTOGRAM_STEPS;
}

static inline uint64_t histogram_value(unsigned place)
{
    unsigned octave = place / HISTOGRAM_STEPS;
    if (octave == 0)
        return place;
    return (uint64_t)(place % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << (octave - 1);
}

static inline void histogram_add(struct histogram *h, int64_t ns)
{
    h->count[histogram_place(ns > 0 ? (uint64_t)ns : 0)]++;
    h->total++;
}

/* The time that so many of the whole do not exceed. */
static inline double histogram_quantile_us(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)((double)h->total * part);
    uint64_t seen = 0;
    for (unsigned place = 0; place < HISTOGRAM_SIZE; place++) {
        seen += h->count[place];
        if (seen > wanted)
            return (double)histogram_value(place) * 1e-3;
    }
    return 0;
}

#endif /* THRUM_BENCH_HISTOGRAM_H */
