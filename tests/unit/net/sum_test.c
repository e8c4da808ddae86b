#include <string.h>
#include <criterion/criterion.h>

#include "net/sum.h"

static uint64_t sum_of(const void *data, size_t size, size_t piece)
{
    thi_sum_t sum;
    thi_sum_begin(&sum);
    for (size_t at = 0; at < size; at += piece)
        thi_sum_add(&sum, (const char *)data + at, size - at < piece ? size - at : piece);
    return thi_sum_value(&sum);
}

Test(sum, as_published)
{
    static const struct {
        const char *text;
        uint64_t sum;
    } cases[] = {
        {"", UINT64_C(0xef46db3751d8e999)},
        {"a", UINT64_C(0xd24ec4f1a98c6e5b)},
        {"abc", UINT64_C(0x44bc2cf5ad770999)},
        {"Nobody inspects the spammish repetition", UINT64_C(0xfbcea83c8a378bf1)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect(sum_of(cases[i].text, strlen(cases[i].text), 100) == cases[i].sum, "case %zu", i);
}

Test(sum, cut_anywhere)
{
    unsigned char data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    for (size_t size = 0; size <= sizeof data; size += 7) {
        const uint64_t whole = sum_of(data, size, sizeof data);
        for (size_t piece = 1; piece < 80; piece++)
            cr_assert(sum_of(data, size, piece) == whole, "%zu by %zu", size, piece);
    }
}
