#include "process/shared_word.h"

#include "process/process.h"

/* The half that the system knows how to sleep on. */
static uint32_t *low_half(uint64_t *word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (uint32_t *)(void *)word + 1;
#else
    return (uint32_t *)(void *)word;
#endif
}

bool thi_word_add_and_wake(uint64_t *word, uint32_t add)
{
    const uint64_t seen = thi_load_relaxed(word);
    if ((seen & THI_SLEEPERS) == 0)
        return false;
    /* One place in 2^29: the sum would not fit in the half. */
    const bool carries = (uint32_t)seen > UINT32_MAX - (add - THI_SLEEPERS);
    if (THI_LIKELY(!carries)) {
        (void)thi_far_add(low_half(word), add - THI_SLEEPERS);
        return true;
    }
    /* Wakes before there is anything to see: then the word is changed while nobody sleeps (again). */
    (void)thi_far_clear(low_half(word), THI_SLEEPERS);
    return false;
}

void thi_word_add(uint64_t *word, uint32_t add)
{
    for (;;) {
        uint64_t seen = thi_load_relaxed(word);
        /* R1: release; pairs with the acquire of everybody who looks at the word. */
        while (THI_LIKELY((seen & THI_SLEEPERS) == 0)) {
            if (thi_cas_release(word, &seen, seen + add))
                return;
        }
        if (thi_word_add_and_wake(word, add)) /* R1 */
            return;
    }
}

int thi_word_sleep(uint64_t *word, uint64_t seen, const thi_site_t *site, thrum_time_t deadline)
{
    thi_spin_t spin = thi_spin_begin();
    uint64_t now = thi_load_relaxed(word);
    while (((now ^ seen) & ~(uint64_t)THI_SLEEPERS) == 0 && thi_spin_turn(&spin))
        now = thi_load_relaxed(word);
    const bool changed = ((now ^ seen) & ~(uint64_t)THI_SLEEPERS) != 0;
    thi_spin_end(&spin, changed);
    if (changed)
        return 0;
    if (deadline != THRUM_FOREVER && deadline <= thi_clock())
        return ETIMEDOUT; /* and nobody has to look for a sleeper */
    /* W1: relaxed; on the word that was seen, so a change that the look missed makes it fail, or finds the
     * mark. */
    if ((now & THI_SLEEPERS) == 0 && !thi_cas_relaxed(word, &now, now | THI_SLEEPERS))
        return 0;
    return thi_shared_sleep(low_half(word), (uint32_t)(now | THI_SLEEPERS), deadline, true, site);
}
