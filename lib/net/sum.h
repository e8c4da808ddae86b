#ifndef THI_SUM_H
#define THI_SUM_H

/*
 * XXH64 of a stream of bytes: finds what was damaged or mixed up, not who did it on purpose.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct thi_sum {
    uint64_t lanes[4];
    uint64_t size;
    unsigned char rest[32]; /* size % 32 of them */
} thi_sum_t;

void thi_sum_begin(thi_sum_t *sum);
void thi_sum_add(thi_sum_t *sum, const void *data, size_t size);
uint64_t thi_sum_value(const thi_sum_t *sum); /* of what was added; more may be */

#endif /* THI_SUM_H */
