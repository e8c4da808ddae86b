#ifndef THI_NET_H
#define THI_NET_H

/*
 * The door of lib/net: frames on streams, and servers.
 */
#include <thrum/frame.h>
#include <thrum/pack.h>

#include "base/base.h"

struct iovec;

/* Where pieces go: `write` takes some of them, as thrum_io_writev does. */
typedef struct thi_sink {
    int (*write)(void *arg, const struct iovec *pieces, int count, size_t *n);
    void *arg;
} thi_sink_t;

#define THI_SINK_VECTOR 64 /* at a time */

/* All of them. */
int thi_sink_write(const thi_sink_t *sink, const struct iovec *pieces, size_t count);

/* As thrum_frame_sendv. */
int thi_frame_put(const thi_sink_t *sink, const thrum_frame_config_t *config,
                  const thrum_pair_t *pairs, size_t n_pairs, const struct iovec *pieces,
                  size_t n_pieces);

/* The same up to the body, which is to follow and is `size` bytes long. */
int thi_frame_put_front(const thi_sink_t *sink, const thrum_frame_config_t *config,
                        const thrum_pair_t *pairs, size_t n_pairs, uint64_t size);

/* Frames as configured, with the defaults filled in. False: no such frames. */
bool thi_frame_config(thrum_frame_config_t *full, const thrum_frame_config_t *config);

/* A duration and so much more of it. */
static inline int64_t thi_longer(int64_t limit, int64_t more)
{
    return limit > INT64_MAX - more ? INT64_MAX : limit + more;
}

#endif /* THI_NET_H */
