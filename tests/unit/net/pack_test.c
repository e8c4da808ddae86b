#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <criterion/criterion.h>

#include <thrum/pack.h>

TestSuite(pack, .timeout = 10);

Test(pack, sizes)
{
    static const struct {
        const char *format;
        size_t size;
    } cases[] = {{">", 0},     {"<b", 1},     {"!hH", 4}, {"=iI", 8}, {">qQfd", 28}, {">?", 1},
                 {">5s3x", 8}, {"> 2h i", 8}, {">0q", 0}, {">0s", 0}, {">bhiq", 15}, {">12s", 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = 99;
        cr_expect(thrum_pack_size(cases[i].format, &size) == 0, "%s", cases[i].format);
        cr_expect(size == cases[i].size, "%s: %zu", cases[i].format, size);
    }
}

Test(pack, formats_that_cannot_be_read)
{
    static const char *const formats[] = {"",
                                          "i",
                                          ">z",
                                          ">3",
                                          "@i",
                                          "> ~",
                                          ">-1i",
                                          ">i>",
                                          ">99999999999999999999999q",
                                          ">9223372036854775807q9223372036854775807q"};
    size_t size = 0;
    unsigned char buf[8];
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        cr_expect(thrum_pack_size(formats[i], &size) == EINVAL, "%s", formats[i]);
        cr_expect(thrum_pack(buf, sizeof buf, NULL, formats[i]) == EINVAL, "%s", formats[i]);
        cr_expect(thrum_unpack(buf, sizeof buf, NULL, formats[i]) == EINVAL, "%s", formats[i]);
    }
    cr_expect(thrum_pack_size(NULL, &size) == EINVAL);
    cr_expect(thrum_pack_size(">i", NULL) == EINVAL);
}

Test(pack, big_and_little)
{
    unsigned char buf[16];
    size_t n = 0;
    cr_assert(thrum_pack(buf, sizeof buf, &n, ">HIq", 0x1234u, 0x56789abcu, (int64_t)-2) == 0);
    cr_expect(n == 14);
    cr_expect(memcmp(buf, "\x12\x34\x56\x78\x9a\xbc\xff\xff\xff\xff\xff\xff\xff\xfe", 14) == 0);
    cr_assert(thrum_pack(buf, sizeof buf, &n, "<HIq", 0x1234u, 0x56789abcu, (int64_t)-2) == 0);
    cr_expect(memcmp(buf, "\x34\x12\xbc\x9a\x78\x56\xfe\xff\xff\xff\xff\xff\xff\xff", 14) == 0);
    uint16_t two = 0x0102;
    cr_assert(thrum_pack(buf, sizeof buf, &n, "=H", 0x0102u) == 0);
    cr_expect(memcmp(buf, &two, 2) == 0);
}

Test(pack, there_and_back)
{
    static const char *const orders = "><!=";
    for (const char *order = orders; *order != '\0'; order++) {
        char format[40];
        unsigned char buf[80];
        size_t n = 0;
        size_t used = 0;
        int8_t b = 0;
        uint8_t ub = 0;
        int16_t h[2] = {0};
        uint16_t uh = 0;
        int32_t i = 0;
        uint32_t ui = 0;
        int64_t q = 0;
        uint64_t uq = 0;
        float f = 0;
        double d = 0;
        bool yes = false;
        char word[5] = "";
        snprintf(format, sizeof format, "%cbB2hHiIqQfd?4s2x", *order);
        memset(buf, 0xee, sizeof buf);
        cr_assert(thrum_pack(buf, sizeof buf, &n, format, -128, 255u, -32768, 32767, 65535u,
                             INT32_MIN, UINT32_MAX, INT64_MIN, UINT64_MAX, 0.5, DBL_MAX, 7,
                             "word") == 0);
        cr_expect(buf[n - 1] == 0 && buf[n - 2] == 0 && buf[n] == 0xee);
        cr_assert(thrum_unpack(buf, sizeof buf, &used, format, &b, &ub, &h[0], &h[1], &uh, &i, &ui,
                               &q, &uq, &f, &d, &yes, word) == 0);
        cr_expect(used == n);
        cr_expect(b == -128 && ub == 255 && h[0] == -32768 && h[1] == 32767 && uh == 65535);
        cr_expect(i == INT32_MIN && ui == UINT32_MAX && q == INT64_MIN && uq == UINT64_MAX);
        cr_expect(f == 0.5F && d == DBL_MAX && yes);
        cr_expect(strcmp(word, "word") == 0);
    }
}

Test(pack, what_is_not_wanted_is_skipped)
{
    int16_t last = 0;
    cr_assert(thrum_unpack("\0\1zz\0\2", 6, NULL, ">h2sh", NULL, NULL, &last) == 0);
    cr_expect(last == 2);
}

Test(pack, numbers_that_do_not_fit)
{
    static const struct {
        const char *format;
        int value;
    } cases[] = {{">b", 128},   {">b", -129},   {">B", 256},   {">B", -1},
                 {">h", 32768}, {">h", -32769}, {">H", 65536}, {">H", -1}};
    unsigned char buf[4] = {1, 2, 3, 4};
    size_t n = 77;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect(thrum_pack(buf, sizeof buf, &n, cases[i].format, cases[i].value) == EOVERFLOW,
                  "%s %d", cases[i].format, cases[i].value);
    cr_expect(thrum_pack(buf, sizeof buf, &n, ">Bb", 9u, 1000) == EOVERFLOW);
    cr_expect(memcmp(buf, "\1\2\3\4", 4) == 0 && n == 77);
}

/* What the next float after FLT_MAX would be, were there one, is halfway to no float at all. */
Test(pack, floats_that_do_not_fit)
{
    static const double large[] = {1e300, -1e300, DBL_MAX, 0x1.ffffffp127, -0x1.ffffffp127};
    static const double fitting[] = {FLT_MAX, -FLT_MAX,         0x1.fffffefffffffp127,
                                     1e-300,  (double)INFINITY, -(double)INFINITY};
    unsigned char buf[4] = {1, 2, 3, 4};
    float f = 0;
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        cr_expect(thrum_pack(buf, sizeof buf, NULL, ">f", large[i]) == EOVERFLOW, "%g", large[i]);
    cr_expect(memcmp(buf, "\1\2\3\4", 4) == 0);
    for (size_t i = 0; i < sizeof fitting / sizeof *fitting; i++) {
        cr_expect(thrum_pack(buf, sizeof buf, NULL, ">f", fitting[i]) == 0, "%g", fitting[i]);
        cr_assert(thrum_unpack(buf, sizeof buf, NULL, ">f", &f) == 0);
        cr_expect(f == (float)fitting[i], "%g", fitting[i]);
    }
    cr_assert(thrum_pack(buf, sizeof buf, NULL, ">f", (double)NAN) == 0);
    cr_assert(thrum_unpack(buf, sizeof buf, NULL, ">f", &f) == 0);
    cr_expect(isnan(f));
}

Test(pack, too_small)
{
    unsigned char buf[4] = {1, 2, 3, 4};
    uint32_t i = 7;
    uint8_t b = 7;
    size_t n = 77;
    cr_expect(thrum_pack(buf, 4, &n, ">IB", 1u, 1u) == EMSGSIZE);
    cr_expect(thrum_unpack(buf, 4, &n, ">IB", &i, &b) == EMSGSIZE);
    cr_expect(memcmp(buf, "\1\2\3\4", 4) == 0 && n == 77 && i == 7 && b == 7);
    cr_expect(thrum_pack(buf, 4, &n, ">I", 1u) == 0 && n == 4);
    cr_expect(thrum_unpack(buf, 4, &n, ">I", &i) == 0 && i == 1);
}

Test(pack, null)
{
    unsigned char buf[4];
    size_t n = 77;
    cr_expect(thrum_pack(NULL, 4, &n, ">I", 1u) == EINVAL);
    cr_expect(thrum_unpack(NULL, 4, &n, ">I", NULL) == EINVAL);
    cr_expect(thrum_pack(buf, 4, &n, ">2s", NULL) == EINVAL);
    cr_expect(n == 77);
    cr_expect(thrum_pack(NULL, 0, &n, ">0s", NULL) == 0 && n == 0);
    cr_expect(thrum_unpack(NULL, 0, &n, ">") == 0);
}
