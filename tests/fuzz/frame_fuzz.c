/*
 * Any bytes as a stream of frames, in any pieces, beside the same bytes read as the format says; and any bytes
 * as a record, unpacked, packed again and compared.
 */
#include <errno.h>
#include <string.h>

#include <thrum/frame.h>
#include <thrum/pack.h>

#include "fuzz/fuzz.h"

/* --- frames ------------------------------------------------------------------------------------------------ */

/* What is to come next of the stream: 0, EAGAIN, EMSGSIZE. */
static int expected(const thrum_frame_config_t *config, const uint8_t *at, size_t left,
                    size_t *size)
{
    uint64_t length = 0;
    if (left < config->length_size)
        return EAGAIN;
    for (unsigned i = 0; i < config->length_size; i++)
        length = length << 8 | at[i];
    if (length > config->max_size)
        return EMSGSIZE;
    *size = (size_t)length;
    return left - config->length_size < length ? EAGAIN : 0;
}

static void parse(struct bytes *in, const thrum_frame_config_t *config)
{
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    const uint8_t *stream = in->next;
    const size_t size = in->left;
    size_t frame_at = 0;
    size_t at = 0;
    FUZZ_CHECK(thrum_frames_create(&frames, config) == 0);
    for (int err = 0; err == 0 || err == EAGAIN;) {
        size_t used = 0;
        size_t length = 0;
        const size_t cut = 1 + (at * 7 + size) % 23;
        const size_t piece = size - at < cut ? size - at : cut;
        err = thrum_frames_feed(frames, stream + at, piece, &used, &frame);
        at += used;
        if (config->pairs) { /* no model of those: only nothing bad may come of it */
            if (err == EAGAIN && at == size)
                break;
            continue;
        }
        const int known = expected(config, stream + frame_at, at - frame_at, &length);
        FUZZ_CHECK(err == known);
        if (err == 0) {
            FUZZ_CHECK(frame.size == length);
            FUZZ_CHECK(memcmp(frame.body, stream + frame_at + config->length_size, length) == 0);
            frame_at = at;
        }
        if (err == EAGAIN && at == size)
            break;
    }
    thrum_frames_destroy(frames);
}

/* --- records ----------------------------------------------------------------------------------------------- */

static void round_trip(struct bytes *in)
{
    static const char *const formats[] = {">bBhHiIqQ5s", "<bBhHiIqQ5s", "=bBhHiIqQ5s"};
    const char *format = formats[bytes_take(in) % 3];
    unsigned char again[64];
    int8_t b = 0;
    uint8_t ub = 0;
    int16_t h = 0;
    uint16_t uh = 0;
    int32_t i = 0;
    uint32_t ui = 0;
    int64_t q = 0;
    uint64_t uq = 0;
    char s[5];
    size_t n = 0;
    size_t packed = 0;
    if (thrum_unpack(in->next, in->left, &n, format, &b, &ub, &h, &uh, &i, &ui, &q, &uq, s) != 0)
        return;
    FUZZ_CHECK(thrum_pack(again, sizeof again, &packed, format, b, ub, h, uh, i, ui, q, uq, s) ==
               0);
    FUZZ_CHECK(packed == n && memcmp(again, in->next, n) == 0);
}

static void any_format(struct bytes *in)
{
    char format[32];
    size_t n = 0;
    size_t size = 0;
    while (in->left != 0 && n + 1 < sizeof format)
        format[n++] = (char)bytes_take(in);
    format[n] = '\0';
    (void)thrum_pack_size(format, &size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = {data, size};
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    const uint8_t choice = bytes_take(&in);
    config.length_size = (choice & 1u) != 0 ? 8 : 4;
    config.pairs = (choice & 2u) != 0;
    config.max_size = 1u + bytes_take(&in);
    config.max_pairs = 1u + bytes_take(&in);
    if ((choice & 4u) != 0)
        parse(&in, &config);
    else if ((choice & 8u) != 0)
        round_trip(&in);
    else
        any_format(&in);
    return 0;
}
