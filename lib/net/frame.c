/*
 * Frames that come in: a parser that takes a stream in any pieces.
 *
 *   part      a length and what is behind it. A frame is one part, its body, or two: pairs, body
 *   head      the bytes of the length, as far as they have come
 *   content   grows as it arrives, to at most twice of that, and never beyond the length
 */
#include <string.h>

#include <thrum/io.h>

#include "net/net.h"
#include "os/os.h"

#define CONTENT_MIN ((size_t)4096)
#define CONTENT_KEPT ((size_t)64 * 1024)
#define AHEAD ((size_t)16 * 1024)
#define LENGTH_MAX 8u

typedef struct part {
    unsigned char head[LENGTH_MAX];
    size_t head_got;
    uint64_t max;
    size_t length; /* known when the head is whole */
    unsigned char *content;
    size_t capacity;
    size_t got;
} part_t;

struct thrum_frames {
    thrum_frame_config_t config;
    part_t pairs;
    part_t body;
    bool whole;  /* the last call has handed out a frame */
    int failed;  /* EMSGSIZE or EBADMSG: the place in the stream is lost */
    bool ended;  /* the stream has */
    size_t from; /* what was read ahead */
    size_t until;
    unsigned char *ahead;
};

/* ------------------------------------------------------------------------------------------------
 * The beginning and the end
 */

bool thi_frame_config(thrum_frame_config_t *full, const thrum_frame_config_t *config)
{
    *full = config != NULL ? *config : (thrum_frame_config_t)THRUM_FRAME_CONFIG_INIT;
    if (full->config_size != 0 && full->config_size != sizeof *full)
        return false;
    if (full->length_size == 0)
        full->length_size = 4;
    if (full->max_size == 0)
        full->max_size = UINT64_C(16) * 1024 * 1024;
    if (full->max_pairs == 0)
        full->max_pairs = UINT64_C(64) * 1024;
    return full->length_size == 4 || full->length_size == 8;
}

int thrum_frames_create(thrum_frames_t **frames, const thrum_frame_config_t *config)
{
    thrum_frame_config_t full;
    if (frames == NULL || !thi_frame_config(&full, config))
        return EINVAL;
    thrum_frames_t *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->config = full;
    made->pairs.max = full.max_pairs;
    made->body.max = full.max_size;
    *frames = made;
    return 0;
}

static void drop_content(part_t *part)
{
    thi_free(part->content, part->capacity);
    part->content = NULL;
    part->capacity = 0;
}

void thrum_frames_destroy(thrum_frames_t *frames)
{
    if (frames == NULL)
        return;
    drop_content(&frames->pairs);
    drop_content(&frames->body);
    thi_free(frames->ahead, AHEAD);
    thi_free(frames, sizeof *frames);
}

/* ------------------------------------------------------------------------------------------------
 * A part
 */

static void begin_part(part_t *part)
{
    part->head_got = 0;
    part->length = 0;
    part->got = 0;
    if (part->capacity > CONTENT_KEPT)
        drop_content(part);
}

static bool is_whole(const thrum_frames_t *frames, const part_t *part)
{
    return part->head_got == frames->config.length_size && part->got == part->length;
}

static int read_length(part_t *part, size_t length_size)
{
    uint64_t length = 0;
    for (size_t i = 0; i < length_size; i++)
        length = length << 8 | part->head[i];
    if (length > part->max || length > SIZE_MAX / 2)
        return EMSGSIZE;
    part->length = (size_t)length;
    return 0;
}

/* Place for content to come. False: no memory. */
static bool make_room(part_t *part)
{
    if (part->got < part->capacity)
        return true;
    size_t capacity = part->capacity != 0 ? part->capacity * 2 : CONTENT_MIN;
    if (capacity > part->length)
        capacity = part->length;
    unsigned char *content = thi_alloc(capacity);
    if (content == NULL)
        return false;
    if (part->got != 0)
        memcpy(content, part->content, part->got);
    thi_free(part->content, part->capacity);
    part->content = content;
    part->capacity = capacity;
    return true;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How much of its content can be put in place now; 0: it is whole, or there is no memory. */
static size_t room(part_t *part)
{
    return part->got < part->length && make_room(part)
               ? least(part->capacity, part->length) - part->got
               : 0;
}

/* Takes of the bytes what belongs to the part. */
static int feed_part(part_t *part, size_t length_size, const unsigned char *data, size_t size,
                     size_t *used)
{
    if (part->head_got < length_size) {
        const size_t n = least(length_size - part->head_got, size - *used);
        if (n != 0)
            memcpy(part->head + part->head_got, data + *used, n);
        part->head_got += n;
        *used += n;
        if (part->head_got < length_size)
            return EAGAIN;
        const int err = read_length(part, length_size);
        if (err != 0)
            return err;
    }
    while (part->got < part->length) {
        if (*used == size)
            return EAGAIN;
        const size_t n = least(room(part), size - *used);
        if (n == 0)
            return ENOMEM;
        memcpy(part->content + part->got, data + *used, n);
        part->got += n;
        *used += n;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Frames
 */

static bool pairs_are_sound(const thrum_frame_t *frame)
{
    thrum_pair_t pair;
    size_t cursor = 0;
    int err = 0;
    while (err == 0)
        err = thrum_frame_pair(frame, &cursor, &pair);
    return err == ENODATA && cursor == frame->pairs_size;
}

static int hand_out(thrum_frames_t *frames, thrum_frame_t *frame)
{
    *frame = (thrum_frame_t){
        .body = frames->body.content != NULL ? frames->body.content : (const void *)"",
        .size = frames->body.length,
        .pairs = frames->pairs.content,
        .pairs_size = frames->pairs.length,
    };
    frames->whole = true;
    return 0;
}

static void begin_frame(thrum_frames_t *frames)
{
    if (!frames->whole)
        return;
    frames->whole = false;
    begin_part(&frames->pairs);
    begin_part(&frames->body);
}

/* The pairs are looked at before anything is kept for the body. */
static int feed_pairs(thrum_frames_t *frames, const unsigned char *data, size_t size, size_t *used)
{
    if (!frames->config.pairs || is_whole(frames, &frames->pairs))
        return 0;
    const int err = feed_part(&frames->pairs, frames->config.length_size, data, size, used);
    const thrum_frame_t frame = {.pairs = frames->pairs.content,
                                 .pairs_size = frames->pairs.length};
    return err == 0 && !pairs_are_sound(&frame) ? EBADMSG : err;
}

int thrum_frames_feed(thrum_frames_t *frames, const void *data, size_t size, size_t *used,
                      thrum_frame_t *frame)
{
    if (frames == NULL || (data == NULL && size != 0) || used == NULL || frame == NULL)
        return EINVAL;
    *used = 0;
    if (frames->failed != 0)
        return frames->failed;
    begin_frame(frames);
    int err = feed_pairs(frames, data, size, used);
    if (err == 0)
        err = feed_part(&frames->body, frames->config.length_size, data, size, used);
    if (err == EMSGSIZE || err == EBADMSG)
        frames->failed = err;
    return err == 0 ? hand_out(frames, frame) : err;
}

bool thrum_frames_midway(const thrum_frames_t *frames)
{
    return frames != NULL && !frames->whole && frames->pairs.head_got + frames->body.head_got != 0;
}

/* ------------------------------------------------------------------------------------------------
 * From a descriptor
 */

/* A large body goes where it belongs without a stop. */
static int read_body(thrum_frames_t *frames, int fd, size_t *n, thrum_time_t deadline)
{
    part_t *body = &frames->body;
    const int err = thrum_io_read(fd, body->content + body->got, room(body), n, deadline);
    if (err == 0)
        body->got += *n;
    return err;
}

static int read_ahead(thrum_frames_t *frames, int fd, size_t *n, thrum_time_t deadline)
{
    if (frames->ahead == NULL)
        frames->ahead = thi_alloc(AHEAD);
    if (frames->ahead == NULL)
        return ENOMEM;
    const int err = thrum_io_read(fd, frames->ahead, AHEAD, n, deadline);
    frames->from = 0;
    frames->until = err == 0 ? *n : 0;
    return err;
}

/* Some more of the stream. */
static int read_more(thrum_frames_t *frames, int fd, thrum_time_t deadline)
{
    const part_t *body = &frames->body;
    size_t n = 0;
    const bool large = body->head_got == frames->config.length_size &&
                       body->length - body->got >= AHEAD && room(&frames->body) != 0;
    const int err =
        large ? read_body(frames, fd, &n, deadline) : read_ahead(frames, fd, &n, deadline);
    if (err == 0 && n == 0)
        frames->ended = true;
    return err;
}

static int end_of(thrum_frames_t *frames)
{
    if (!thrum_frames_midway(frames))
        return ENODATA;
    frames->failed = EBADMSG;
    return EBADMSG;
}

int thrum_frames_receive(thrum_frames_t *frames, int fd, thrum_frame_t *frame,
                         thrum_time_t deadline)
{
    if (frames == NULL || frame == NULL)
        return EINVAL;
    for (;;) {
        size_t used = 0;
        int err =
            thrum_frames_feed(frames, frames->ahead != NULL ? frames->ahead + frames->from : NULL,
                              frames->until - frames->from, &used, frame);
        frames->from += used;
        if (err != EAGAIN)
            return err;
        if (frames->ended)
            return end_of(frames);
        err = read_more(frames, fd, deadline);
        if (err != 0)
            return err;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Pairs
 */

int thrum_frame_pair(const thrum_frame_t *frame, size_t *cursor, thrum_pair_t *pair)
{
    uint16_t key_size = 0;
    uint32_t size = 0;
    size_t n = 0;
    if (frame == NULL || cursor == NULL || pair == NULL || *cursor > frame->pairs_size)
        return EINVAL;
    size_t left = frame->pairs_size - *cursor;
    if (left == 0)
        return ENODATA;
    const char *at = (const char *)frame->pairs + *cursor;
    if (thrum_unpack(at, left, &n, ">HI", &key_size, &size) != 0)
        return ENODATA;
    at += n;
    left -= n;
    if (left < (size_t)key_size + 1 || left - key_size - 1 < size || at[key_size] != '\0' ||
        strlen(at) != key_size)
        return ENODATA;
    *pair = (thrum_pair_t){at, at + key_size + 1, size};
    *cursor += n + key_size + 1 + size;
    return 0;
}

int thrum_frame_find(const thrum_frame_t *frame, const char *key, thrum_pair_t *pair)
{
    thrum_pair_t found;
    size_t cursor = 0;
    if (frame == NULL || key == NULL)
        return EINVAL;
    while (thrum_frame_pair(frame, &cursor, &found) == 0) {
        if (strcmp(found.key, key) == 0) {
            if (pair != NULL)
                *pair = found;
            return 0;
        }
    }
    return ENOENT;
}
