/*
 * Pieces of memory, written one after the other, whatever the sink takes at a time.
 */
#include <sys/uio.h>

#include "net/net.h"

typedef struct cursor {
    const struct iovec *pieces;
    size_t count;
    size_t gone; /* of the first */
} cursor_t;

static int fill(const cursor_t *from, struct iovec *vector)
{
    int n = 0;
    for (size_t i = 0; i < from->count && n < THI_SINK_VECTOR; i++) {
        const size_t gone = i == 0 ? from->gone : 0;
        vector[n++] =
            (struct iovec){(char *)from->pieces[i].iov_base + gone, from->pieces[i].iov_len - gone};
    }
    return n;
}

static void advance(cursor_t *cursor, size_t n)
{
    while (cursor->count != 0 && n >= cursor->pieces->iov_len - cursor->gone) {
        n -= cursor->pieces->iov_len - cursor->gone;
        cursor->pieces++;
        cursor->count--;
        cursor->gone = 0;
    }
    cursor->gone += n;
}

int thi_sink_write(const thi_sink_t *sink, const struct iovec *pieces, size_t count)
{
    struct iovec vector[THI_SINK_VECTOR];
    cursor_t cursor = {pieces, count, 0};
    advance(&cursor, 0); /* over what is empty */
    while (cursor.count != 0) {
        size_t n = 0;
        const int err = sink->write(sink->arg, vector, fill(&cursor, vector), &n);
        if (err != 0)
            return err;
        advance(&cursor, n);
    }
    return 0;
}
