/*
 * Frames that go out: lengths, pairs and the pieces of the body in one vector.
 */
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include <thrum/io.h>

#include "net/net.h"
#include "os/os.h"

#define VECTOR THI_SINK_VECTOR

/* Writes a length, as it stands in front; returns how many bytes that are. */
static size_t write_length(const thrum_frame_config_t *config, uint64_t length, unsigned char *at)
{
    const size_t size = config->length_size;
    if (size == 4)
        (void)thrum_pack(at, size, NULL, ">I", (unsigned)length);
    else
        (void)thrum_pack(at, size, NULL, ">Q", length);
    return size;
}

/* ------------------------------------------------------------------------------------------------
 * Pairs
 */

/* Bytes that the pairs take on the stream; false: a key or a value is too long. */
static bool size_of_pairs(const thrum_pair_t *pairs, size_t n, size_t *size)
{
    *size = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t key_size = strlen(pairs[i].key);
        if (key_size > UINT16_MAX || pairs[i].size > UINT32_MAX)
            return false;
        const uint64_t needed = UINT64_C(2) + 4 + key_size + 1 + pairs[i].size;
        if (needed > SIZE_MAX / 2 - *size)
            return false;
        *size += (size_t)needed;
    }
    return true;
}

static void write_pairs(const thrum_pair_t *pairs, size_t n, unsigned char *at, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        const size_t key_size = strlen(pairs[i].key);
        size_t packed = 0;
        (void)thrum_pack(at, size, &packed, ">HI", (unsigned)key_size, (unsigned)pairs[i].size);
        memcpy(at + packed, pairs[i].key, key_size + 1);
        packed += key_size + 1;
        if (pairs[i].size != 0)
            memcpy(at + packed, pairs[i].value, pairs[i].size);
        packed += pairs[i].size;
        at += packed;
        size -= packed;
    }
}

static bool are_pairs(const thrum_pair_t *pairs, size_t n)
{
    if (pairs == NULL)
        return n == 0;
    for (size_t i = 0; i < n; i++)
        if (pairs[i].key == NULL || (pairs[i].value == NULL && pairs[i].size != 0))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * Frames
 */

/* `front`: lengths and pairs. */
static int send_behind(const thi_sink_t *sink, const unsigned char *front, size_t front_size,
                       const struct iovec *pieces, size_t n)
{
    struct iovec few[VECTOR] = {{(void *)(uintptr_t)front, front_size}};
    const size_t with = n < VECTOR ? n : VECTOR - 1; /* of the pieces, in the first vector */
    if (with != 0)
        memcpy(few + 1, pieces, with * sizeof *pieces);
    const int err = thi_sink_write(sink, few, with + 1);
    return err != 0 ? err : thi_sink_write(sink, pieces + with, n - with);
}

static bool size_of_pieces(const struct iovec *pieces, size_t n, size_t *size)
{
    *size = 0;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].iov_len > SIZE_MAX - *size)
            return false;
        *size += pieces[i].iov_len;
    }
    return true;
}

static bool fits(const thrum_frame_config_t *config, uint64_t max, uint64_t size)
{
    return size <= max && (config->length_size == 8 || size <= UINT32_MAX);
}

/* `pieces` are the body's, of that size, or the first of it. */
static int put(const thi_sink_t *sink, const thrum_frame_config_t *full, const thrum_pair_t *pairs,
               size_t n_pairs, const struct iovec *pieces, size_t n_pieces, uint64_t size)
{
    unsigned char little[256];
    unsigned char *front = little;
    size_t pairs_size = 0;
    if (!size_of_pairs(pairs, n_pairs, &pairs_size) || !fits(full, full->max_pairs, pairs_size) ||
        !fits(full, full->max_size, size))
        return EMSGSIZE;
    const size_t front_size = full->length_size * (full->pairs ? 2u : 1u) + pairs_size;
    if (front_size > sizeof little && (front = thi_alloc(front_size)) == NULL)
        return ENOMEM;
    size_t at = 0;
    if (full->pairs) {
        at += write_length(full, pairs_size, front);
        write_pairs(pairs, n_pairs, front + at, pairs_size);
        at += pairs_size;
    }
    at += write_length(full, size, front + at);
    const int err = send_behind(sink, front, at, pieces, n_pieces);
    if (front != little)
        thi_free(front, front_size);
    return err;
}

int thi_frame_put(const thi_sink_t *sink, const thrum_frame_config_t *config,
                  const thrum_pair_t *pairs, size_t n_pairs, const struct iovec *pieces,
                  size_t n_pieces)
{
    thrum_frame_config_t full;
    size_t size = 0;
    if (!thi_frame_config(&full, config) || (pieces == NULL && n_pieces != 0) ||
        !are_pairs(pairs, n_pairs) || (n_pairs != 0 && !full.pairs))
        return EINVAL;
    if (!size_of_pieces(pieces, n_pieces, &size))
        return EMSGSIZE;
    return put(sink, &full, pairs, n_pairs, pieces, n_pieces, size);
}

int thi_frame_put_front(const thi_sink_t *sink, const thrum_frame_config_t *config,
                        const thrum_pair_t *pairs, size_t n_pairs, uint64_t size)
{
    thrum_frame_config_t full;
    const struct iovec none = {NULL, 0};
    return thi_frame_config(&full, config) ? put(sink, &full, pairs, n_pairs, &none, 0, size)
                                           : EINVAL;
}

struct to_fd {
    int fd;
    thrum_time_t deadline;
};

static int write_to_fd(void *arg, const struct iovec *pieces, int count, size_t *n)
{
    const struct to_fd *to = arg;
    return thrum_io_writev(to->fd, pieces, count, n, to->deadline);
}

int thrum_frame_sendv(int fd, const thrum_frame_config_t *config, const thrum_pair_t *pairs,
                      size_t n_pairs, const struct iovec *pieces, size_t n_pieces,
                      thrum_time_t deadline)
{
    struct to_fd to = {fd, deadline};
    const thi_sink_t sink = {write_to_fd, &to};
    return thi_frame_put(&sink, config, pairs, n_pairs, pieces, n_pieces);
}

int thrum_frame_send(int fd, const thrum_frame_config_t *config, const void *body, size_t size,
                     thrum_time_t deadline)
{
    const struct iovec piece = {(void *)(uintptr_t)body, size};
    if (body == NULL && size != 0)
        return EINVAL;
    return thrum_frame_sendv(fd, config, NULL, 0, &piece, 1, deadline);
}
