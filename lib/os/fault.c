/*
 * Fault injection for the tests: makes the n-th call of a function that may fail do so.
 */
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
#else
typedef int thi_no_faults; /* a translation unit may not be empty */
#endif
