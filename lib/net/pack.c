/*
 * Records of fields of fixed width. A format is read field by field; what a field is follows from its code
 * alone. Packing reads the format twice: first to see that all of it can be written, then to write.
 */
#include <thrum/pack.h>

#include <errno.h>
#include <float.h>
#include <stdarg.h>
#include <string.h>

typedef struct field {
    const char *next; /* where the format goes on */
    char code;
    bool big;     /* the most significant byte first */
    size_t width; /* bytes of one */
    size_t count; /* of a string its bytes, else how many of them there are */
} field_t;

static bool machine_is_big(void)
{
    const uint16_t one = 1;
    unsigned char first = 0;
    memcpy(&first, &one, 1);
    return first == 0;
}

/* 0: there is no such code. */
static size_t width_of(char code)
{
    switch (code) {
    case 'b':
    case 'B':
    case '?':
    case 's':
    case 'x':
        return 1;
    case 'h':
    case 'H':
        return 2;
    case 'i':
    case 'I':
    case 'f':
        return 4;
    case 'q':
    case 'Q':
    case 'd':
        return 8;
    default:
        return 0;
    }
}

static int begin(field_t *field, const char *format)
{
    *field = (field_t){.next = "", .width = 1};
    if (format == NULL)
        return EINVAL;
    switch (*format) {
    case '>':
    case '!':
        field->big = true;
        break;
    case '<':
        field->big = false;
        break;
    case '=':
        field->big = machine_is_big();
        break;
    default:
        return EINVAL;
    }
    field->next = format + 1;
    return 0;
}

/* 0: there is one; ENODATA: there is none left; EINVAL. */
static int next(field_t *field)
{
    const char *at = field->next;
    while (*at == ' ')
        at++;
    if (*at == '\0')
        return ENODATA;
    size_t count = *at >= '0' && *at <= '9' ? 0 : 1;
    for (; *at >= '0' && *at <= '9'; at++) {
        const size_t digit = (size_t)(*at - '0');
        if (count > (SIZE_MAX - digit) / 10)
            return EINVAL;
        count = count * 10 + digit;
    }
    const size_t width = width_of(*at);
    if (width == 0)
        return EINVAL;
    field->code = *at;
    field->width = width;
    field->count = count;
    field->next = at + 1;
    return 0;
}

int thrum_pack_size(const char *format, size_t *size)
{
    field_t field;
    size_t sum = 0;
    int err = begin(&field, format);
    while (err == 0 && (err = next(&field)) == 0) {
        if (field.count > (SIZE_MAX - sum) / field.width)
            return EINVAL;
        sum += field.count * field.width;
    }
    if (err != ENODATA || size == NULL)
        return EINVAL;
    *size = sum;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Numbers
 */

static void store(unsigned char *at, uint64_t bits, size_t width, bool big)
{
    for (size_t i = 0; i < width; i++)
        at[i] = (unsigned char)(bits >> 8 * (big ? width - 1 - i : i));
}

static uint64_t load(const unsigned char *at, size_t width, bool big)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < width; i++)
        bits |= (uint64_t)at[i] << 8 * (big ? width - 1 - i : i);
    return bits;
}

static bool fits_signed(int value, size_t width)
{
    return width >= sizeof value ||
           (value >= -(1 << (8 * width - 1)) && value < 1 << (8 * width - 1));
}

static bool fits_unsigned(unsigned value, size_t width)
{
    return width >= sizeof value || value < 1u << 8 * width;
}

/* A finite number from half a step beyond FLT_MAX on would be rounded to none that is finite. */
static bool fits_float(double value)
{
    const double size = value < 0 ? -value : value;
    return !(size >= 0x1.ffffffp127 && size <= DBL_MAX);
}

/* The bits of the next argument. False: it does not fit. */
static bool take_bits(char code, va_list *args, uint64_t *bits)
{
    const size_t width = width_of(code);
    double real = 0;
    float single = 0;
    uint32_t half = 0;
    int number = 0;
    unsigned natural = 0;
    switch (code) {
    case 'b':
    case 'h':
    case 'i':
        number = va_arg(*args, int);
        *bits = (uint64_t)(int64_t)number;
        return fits_signed(number, width);
    case 'B':
    case 'H':
    case 'I':
        natural = va_arg(*args, unsigned);
        *bits = natural;
        return fits_unsigned(natural, width);
    case '?':
        *bits = va_arg(*args, int) != 0;
        return true;
    case 'q':
        *bits = (uint64_t)va_arg(*args, int64_t);
        return true;
    case 'Q':
        *bits = va_arg(*args, uint64_t);
        return true;
    case 'f':
        real = va_arg(*args, double);
        if (!fits_float(real))
            return false;
        single = (float)real;
        memcpy(&half, &single, sizeof half);
        *bits = half;
        return true;
    default:
        real = va_arg(*args, double);
        memcpy(bits, &real, sizeof *bits);
        return true;
    }
}

static void give_bits(char code, uint64_t bits, void *to)
{
    const uint8_t one = (uint8_t)bits;
    const uint16_t two = (uint16_t)bits;
    const uint32_t four = (uint32_t)bits;
    const bool truth = bits != 0;
    if (to == NULL)
        return;
    if (code == '?')
        memcpy(to, &truth, sizeof truth);
    else if (width_of(code) == 1)
        memcpy(to, &one, sizeof one);
    else if (width_of(code) == 2)
        memcpy(to, &two, sizeof two);
    else if (width_of(code) == 4)
        memcpy(to, &four, sizeof four);
    else
        memcpy(to, &bits, sizeof bits);
}

/* ------------------------------------------------------------------------------------------------
 * Packing and unpacking
 */

/* `at` NULL: only looks whether everything fits. */
static int pack_field(const field_t *field, unsigned char *at, va_list *args)
{
    const size_t width = field->width;
    if (field->code == 'x') {
        if (at != NULL && field->count != 0)
            memset(at, 0, field->count);
        return 0;
    }
    if (field->code == 's') {
        const void *bytes = va_arg(*args, const void *);
        if (bytes == NULL && field->count != 0)
            return EINVAL;
        if (at != NULL && field->count != 0)
            memmove(at, bytes, field->count);
        return 0;
    }
    for (size_t i = 0; i < field->count; i++) {
        uint64_t bits = 0;
        if (!take_bits(field->code, args, &bits))
            return EOVERFLOW;
        if (at != NULL)
            store(at + i * width, bits, width, field->big);
    }
    return 0;
}

static int pack_all(const char *format, unsigned char *at, va_list *args)
{
    field_t field;
    int err = begin(&field, format);
    while (err == 0 && (err = next(&field)) == 0) {
        err = pack_field(&field, at, args);
        if (at != NULL)
            at += field.count * field.width;
    }
    return err == ENODATA ? 0 : err;
}

int thrum_pack(void *buf, size_t size, size_t *packed, const char *format, ...)
{
    size_t needed = 0;
    va_list args;
    int err = thrum_pack_size(format, &needed);
    if (err == 0 && needed > size)
        err = EMSGSIZE;
    if (err == 0 && buf == NULL && needed != 0)
        err = EINVAL;
    if (err != 0)
        return err;
    va_start(args, format);
    err = pack_all(format, NULL, &args);
    va_end(args);
    if (err != 0)
        return err;
    if (needed != 0) {
        va_start(args, format);
        (void)pack_all(format, buf, &args);
        va_end(args);
    }
    if (packed != NULL)
        *packed = needed;
    return 0;
}

static void unpack_field(const field_t *field, const unsigned char *at, va_list *args)
{
    const size_t width = field->width;
    if (field->code == 'x')
        return;
    if (field->code == 's') {
        void *bytes = va_arg(*args, void *);
        if (bytes != NULL && field->count != 0)
            memmove(bytes, at, field->count);
        return;
    }
    for (size_t i = 0; i < field->count; i++)
        give_bits(field->code, load(at + i * width, width, field->big), va_arg(*args, void *));
}

static void unpack_all(const char *format, const unsigned char *at, va_list *args)
{
    field_t field;
    (void)begin(&field, format);
    while (next(&field) == 0) {
        unpack_field(&field, at, args);
        at += field.count * field.width;
    }
}

int thrum_unpack(const void *data, size_t size, size_t *used, const char *format, ...)
{
    size_t needed = 0;
    va_list args;
    const int err = thrum_pack_size(format, &needed);
    if (err != 0)
        return err;
    if (needed > size)
        return EMSGSIZE;
    if (data == NULL && needed != 0)
        return EINVAL;
    if (data != NULL) {
        va_start(args, format);
        unpack_all(format, data, &args);
        va_end(args);
    }
    if (used != NULL)
        *used = needed;
    return 0;
}
