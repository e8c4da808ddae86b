#ifndef THRUM_FRAME_H
#define THRUM_FRAME_H

#include <thrum/base.h>
#include <thrum/time.h>

struct iovec;

THRUM_BEGIN_DECLS

/**
 * @file
 * Frames: messages on a stream, each behind its length, the most significant byte first; if wanted with pairs
 * of key and value ahead of the body.
 *
 *     thrum_frames_t *frames = NULL;                     // what comes in on one stream
 *     thrum_frame_t frame;
 *     int err = thrum_frames_create(&frames, NULL);
 *
 *     err = thrum_frame_send(fd, NULL, "hello", 5, thrum_after(THRUM_S(10)));
 *     err = thrum_frames_receive(frames, fd, &frame, thrum_after(THRUM_S(10)));
 *     ...                                                // frame.body, frame.size
 *
 * Stream    [length] [body] [length] [body] ...; with pairs [length] [pairs] [length] [body] ... A length has 4
 *           or 8 bytes and counts the bytes behind it. A pair is, as thrum_pack has it, ">HI", the lengths of
 *           key and value; then the key, a zero, and the value.
 * Memory    A length is checked against the configured limit before anything is allocated for it, and then no
 *           more is allocated than twice what has arrived: a peer that declares much and sends little costs little.
 *           What a frame was kept in is used again; more than 64 KiB is given back with the next frame.
 * Errors    EMSGSIZE: longer than the limit. EBADMSG: no pairs, or the stream ended within a frame. After
 *           those the place in the stream is lost: every later call says the same. A deadline that passes or a
 *           cancellation within a receive loses nothing: the next goes on; within a send it leaves half a
 *           frame on the stream, which is of no more use.
 * Ordering  None of its own: what the stream orders. Over a socket or a pipe whatever was written before a send is
 *           there for whoever has received the frame.
 * Context   Any strand; a frames object is used by one at a time. So is the sending side of a stream: of two
 *           strands that send at once one may come within the other's frame, for a stream takes what it has
 *           room for. One sends, or a mutex is held. Sends and receives wait as io.h says.
 * Fork      A frames object is memory, of which the child has a copy, with what was read ahead. Only one of the
 *           two may go on with the stream.
 */

/** How frames look. Start from THRUM_FRAME_CONFIG_INIT. Both sides need the same sizes and pairs. */
typedef struct thrum_frame_config {
    unsigned length_size; /**< bytes of a length: 4 or 8; 0: 4 */
    bool pairs;           /**< every body has pairs ahead of it, if only none */
    uint64_t max_size;    /**< of a body, in bytes; 0: 16 MiB */
    uint64_t max_pairs;   /**< of all pairs of a frame, in bytes; 0: 64 KiB */
    size_t config_size;   /**< set by THRUM_FRAME_CONFIG_INIT; 0: this first version */
} thrum_frame_config_t;

/** The defaults: lengths of 4 bytes, no pairs, at most 16 MiB. */
#define THRUM_FRAME_CONFIG_INIT                                                                    \
    {                                                                                              \
        0, false, 0, 0, sizeof(thrum_frame_config_t)                                               \
    }

/** A frame that has come whole. */
typedef struct thrum_frame {
    const void *body;  /**< valid until the next call for the same frames */
    size_t size;       /**< of the body, in bytes */
    const void *pairs; /**< for thrum_frame_find and thrum_frame_pair */
    size_t pairs_size; /**< of all pairs, in bytes */
} thrum_frame_t;

/** A pair to be sent, or one that has come. */
typedef struct thrum_pair {
    const char *key;   /**< a string */
    const void *value; /**< any bytes */
    size_t size;       /**< of the value, in bytes */
} thrum_pair_t;

/** The receiving side of one stream: a parser that takes the stream in pieces of any size. */
typedef struct thrum_frames thrum_frames_t;

/** Makes one. NULL: the defaults. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_frames_create(thrum_frames_t **frames, const thrum_frame_config_t *config);

/** NULL: nothing. */
THRUM_API void thrum_frames_destroy(thrum_frames_t *frames);

/** Takes bytes of the stream, at most up to the end of a frame; `*used` gets how many. What it stores in
 *  `*frame` is valid until the next call for `frames`. Never waits.
 *  @return 0: a frame is whole; EAGAIN: all was used, and more is needed; EMSGSIZE, EBADMSG; EINVAL (NULL);
 *  ENOMEM: what was used is kept, the rest may be tried again. */
THRUM_API int thrum_frames_feed(thrum_frames_t *frames, const void *data, size_t size, size_t *used,
                                thrum_frame_t *frame);

/** Receives a frame from a descriptor; it may read ahead, so nobody else is to read from it.
 *  @return 0; ENODATA (the stream has ended, after a whole frame); EBADMSG (within one); EMSGSIZE; ETIMEDOUT;
 *  ECANCELED; EINVAL; ENOMEM; an error of the system. */
THRUM_API int thrum_frames_receive(thrum_frames_t *frames, int fd, thrum_frame_t *frame,
                                   thrum_time_t deadline);

/** Whether part of a frame has come. */
THRUM_API bool thrum_frames_midway(const thrum_frames_t *frames);

/** Sends a frame, with one call of the system if the stream takes it. Without pairs, where the configuration
 *  has them.
 *  @return 0; EMSGSIZE (over the limit: nothing was sent); EINVAL; an error of thrum_io_writev. */
THRUM_API int thrum_frame_send(int fd, const thrum_frame_config_t *config, const void *body,
                               size_t size, thrum_time_t deadline);

/** The same of a body in pieces, and with pairs (EINVAL where the configuration has none; a key of more than
 *  65,535 bytes: EMSGSIZE). Also ENOMEM. */
THRUM_API int thrum_frame_sendv(int fd, const thrum_frame_config_t *config,
                                const thrum_pair_t *pairs, size_t n_pairs,
                                const struct iovec *pieces, size_t n_pieces, thrum_time_t deadline);

/** The first pair of a frame with that key. @return 0, ENOENT, EINVAL. */
THRUM_API int thrum_frame_find(const thrum_frame_t *frame, const char *key, thrum_pair_t *pair);

/** One pair after the other: `*cursor` is 0 at first. @return 0, ENODATA (there are no more), EINVAL. */
THRUM_API int thrum_frame_pair(const thrum_frame_t *frame, size_t *cursor, thrum_pair_t *pair);

THRUM_END_DECLS
#endif /* THRUM_FRAME_H */
