#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <criterion/criterion.h>

#include <thrum/frame.h>
#include <thrum/thread.h>

TestSuite(frame, .timeout = 30);

#define SOON thrum_after(THRUM_S(20))

static void pair_of(int fd[2])
{
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
}

/* What a sender puts on a stream. */
static size_t stream_of(const thrum_frame_config_t *config, const thrum_pair_t *pairs,
                        size_t n_pairs, const void *body, size_t size, unsigned char *out,
                        size_t room)
{
    int fd[2];
    const struct iovec piece = {(void *)(uintptr_t)body, size};
    pair_of(fd);
    cr_assert(thrum_frame_sendv(fd[0], config, pairs, n_pairs, &piece, 1, SOON) == 0);
    close(fd[0]);
    size_t n = 0;
    ssize_t got = 0;
    while ((got = read(fd[1], out + n, room - n)) > 0)
        n += (size_t)got;
    close(fd[1]);
    return n;
}

Test(frame, on_the_wire)
{
    unsigned char out[64];
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    cr_expect(stream_of(NULL, NULL, 0, "hello", 5, out, sizeof out) == 9);
    cr_expect(memcmp(out, "\0\0\0\5hello", 9) == 0);
    config.length_size = 8;
    cr_expect(stream_of(&config, NULL, 0, "hello", 5, out, sizeof out) == 13);
    cr_expect(memcmp(out, "\0\0\0\0\0\0\0\5hello", 13) == 0);
    config.length_size = 4;
    config.pairs = true;
    const thrum_pair_t pair = {"k", "val", 3};
    cr_expect(stream_of(&config, &pair, 1, "hello", 5, out, sizeof out) == 24);
    cr_expect(memcmp(out, "\0\0\0\13\0\1\0\0\0\3k\0val\0\0\0\5hello", 24) == 0);
    cr_expect(stream_of(&config, NULL, 0, "", 0, out, sizeof out) == 8);
    cr_expect(memcmp(out, "\0\0\0\0\0\0\0\0", 8) == 0);
}

static void expect_frames(thrum_frames_t *frames, const unsigned char *data, size_t size,
                          size_t cut, size_t *whole)
{
    thrum_frame_t frame;
    for (size_t at = 0; at < size;) {
        size_t n = size - at < cut ? size - at : cut;
        size_t used = 0;
        const int err = thrum_frames_feed(frames, data + at, n, &used, &frame);
        at += used;
        if (err == EAGAIN) {
            cr_assert(used == n);
            continue;
        }
        cr_assert(err == 0, "%d", err);
        const size_t expected = *whole * 7;
        thrum_pair_t found;
        cr_assert(frame.size == expected);
        for (size_t i = 0; i < frame.size; i++)
            cr_assert(((const unsigned char *)frame.body)[i] == (unsigned char)(*whole + i));
        cr_assert(thrum_frame_find(&frame, "number", &found) == 0);
        cr_assert(found.size == sizeof *whole && memcmp(found.value, whole, found.size) == 0);
        ++*whole;
    }
}

/* Every cut of the same stream. */
Test(frame, cut_anywhere)
{
    static unsigned char stream[8192];
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    config.pairs = true;
    size_t size = 0;
    for (size_t k = 0; k < 20; k++) {
        unsigned char body[200];
        const thrum_pair_t pairs[] = {{"", "", 0}, {"number", &k, sizeof k}};
        for (size_t i = 0; i < k * 7; i++)
            body[i] = (unsigned char)(k + i);
        size += stream_of(&config, pairs, 2, body, k * 7, stream + size, sizeof stream - size);
    }
    for (size_t cut = 1; cut <= size; cut += cut < 100 ? 1 : 97) {
        thrum_frames_t *frames = NULL;
        size_t whole = 0;
        cr_assert(thrum_frames_create(&frames, &config) == 0);
        expect_frames(frames, stream, size, cut, &whole);
        cr_expect(whole == 20 && !thrum_frames_midway(frames));
        thrum_frames_destroy(frames);
    }
}

/* Lengths at the limit, and declared beyond it. */
Test(frame, limits)
{
    static const struct {
        const char *head;
        unsigned length_size;
        int err;
    } cases[] = {
        {"\0\0\0\12", 4, EAGAIN},
        {"\0\0\0\13", 4, EMSGSIZE},
        {"\377\377\377\377", 4, EMSGSIZE},
        {"\0\0\0\0\0\0\0\12", 8, EAGAIN},
        {"\0\0\0\0\0\0\0\13", 8, EMSGSIZE},
        {"\377\377\377\377\377\377\377\377", 8, EMSGSIZE},
        {"\0\0\0\0", 4, 0},
        {"\0\0\0\0\0\0\0\0", 8, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
        thrum_frames_t *frames = NULL;
        thrum_frame_t frame = {NULL, 99, NULL, 99};
        size_t used = 0;
        config.max_size = 10;
        config.length_size = cases[i].length_size;
        cr_assert(thrum_frames_create(&frames, &config) == 0);
        cr_expect(thrum_frames_feed(frames, cases[i].head, cases[i].length_size, &used, &frame) ==
                      cases[i].err,
                  "case %zu", i);
        if (cases[i].err == EMSGSIZE) /* for good */
            cr_expect(thrum_frames_feed(frames, "\0\0\0\0", 4, &used, &frame) == EMSGSIZE);
        if (cases[i].err == 0)
            cr_expect(frame.size == 0 && frame.body != NULL);
        thrum_frames_destroy(frames);
    }
}

Test(frame, pairs_that_are_none)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\0\0\0\1x", 5},                             /* too short for lengths */
        {"\0\0\0\10\0\1\0\0\0\2k\0", 12},             /* the value is not all there */
        {"\0\0\0\10\0\1\0\0\0\0kx", 12},              /* no zero behind the key */
        {"\0\0\0\11\0\2\0\0\0\0k\0\0", 13},           /* a zero in the key */
        {"\0\0\0\10\377\377\377\377\377\377k\0", 12}, /* lengths beyond everything */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
        thrum_frames_t *frames = NULL;
        thrum_frame_t frame;
        size_t used = 0;
        config.pairs = true;
        cr_assert(thrum_frames_create(&frames, &config) == 0);
        cr_expect(thrum_frames_feed(frames, cases[i].bytes, cases[i].size, &used, &frame) ==
                      EBADMSG,
                  "case %zu", i);
        cr_expect(thrum_frames_feed(frames, "", 0, &used, &frame) == EBADMSG);
        thrum_frames_destroy(frames);
    }
}

struct large {
    int fd;
    unsigned char *body;
    size_t size;
};

static int send_large(void *arg, void **result)
{
    const struct large *l = arg;
    const struct iovec pieces[] = {{l->body, 1}, {NULL, 0}, {l->body + 1, l->size - 1}};
    (void)result;
    int err = thrum_frame_sendv(l->fd, NULL, NULL, 0, pieces, 3, SOON);
    if (err == 0)
        err = thrum_frame_send(l->fd, NULL, "after", 5, SOON);
    close(l->fd);
    return err;
}

Test(frame, large_over_a_socket)
{
    struct large l = {.size = (size_t)5 << 20};
    thrum_frames_t *frames = NULL;
    thrum_thread_t *t = NULL;
    thrum_frame_t frame;
    int fd[2];
    pair_of(fd);
    l.fd = fd[0];
    l.body = malloc(l.size);
    for (size_t i = 0; i < l.size; i++)
        l.body[i] = (unsigned char)(i * 7 >> 3);
    cr_assert(thrum_frames_create(&frames, NULL) == 0);
    cr_assert(thrum_thread_spawn(&t, send_large, &l, NULL) == 0);
    cr_assert(thrum_frames_receive(frames, fd[1], &frame, SOON) == 0);
    cr_expect(frame.size == l.size && memcmp(frame.body, l.body, l.size) == 0);
    cr_assert(thrum_frames_receive(frames, fd[1], &frame, SOON) == 0);
    cr_expect(frame.size == 5 && memcmp(frame.body, "after", 5) == 0);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, SOON) == ENODATA);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, SOON) == ENODATA);
    cr_expect(thrum_thread_join(t, NULL) == 0);
    thrum_thread_release(t);
    thrum_frames_destroy(frames);
    close(fd[1]);
    free(l.body);
}

Test(frame, many_pieces)
{
    enum { N = 300 };
    struct iovec pieces[N];
    unsigned char bytes[N];
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    int fd[2];
    pair_of(fd);
    for (unsigned i = 0; i < N; i++) {
        bytes[i] = (unsigned char)i;
        pieces[i] = (struct iovec){&bytes[i], 1};
    }
    cr_assert(thrum_frames_create(&frames, NULL) == 0);
    cr_assert(thrum_frame_sendv(fd[0], NULL, NULL, 0, pieces, N, SOON) == 0);
    cr_assert(thrum_frames_receive(frames, fd[1], &frame, SOON) == 0);
    cr_expect(frame.size == N && memcmp(frame.body, bytes, N) == 0);
    thrum_frames_destroy(frames);
    close(fd[0]);
    close(fd[1]);
}

/* A deadline within a frame loses nothing. */
Test(frame, goes_on_after_a_deadline)
{
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    int fd[2];
    pair_of(fd);
    cr_assert(thrum_frames_create(&frames, NULL) == 0);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, 1) == ETIMEDOUT);
    cr_expect(!thrum_frames_midway(frames));
    cr_assert(write(fd[0], "\0\0\0\5he", 6) == 6);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, 1) == ETIMEDOUT);
    cr_expect(thrum_frames_midway(frames));
    cr_assert(write(fd[0], "llo", 3) == 3);
    cr_assert(thrum_frames_receive(frames, fd[1], &frame, 1) == 0);
    cr_expect(frame.size == 5 && memcmp(frame.body, "hello", 5) == 0);
    cr_assert(write(fd[0], "\0\0", 2) == 2);
    close(fd[0]);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, SOON) == EBADMSG);
    cr_expect(thrum_frames_receive(frames, fd[1], &frame, SOON) == EBADMSG);
    thrum_frames_destroy(frames);
    close(fd[1]);
}

Test(frame, pairs_one_after_the_other)
{
    unsigned char stream[128];
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    thrum_pair_t pair;
    size_t used = 0;
    size_t cursor = 0;
    config.pairs = true;
    const thrum_pair_t pairs[] = {{"a", "1", 1}, {"b", "", 0}, {"a", "3", 1}};
    const size_t size = stream_of(&config, pairs, 3, "", 0, stream, sizeof stream);
    cr_assert(thrum_frames_create(&frames, &config) == 0);
    cr_assert(thrum_frames_feed(frames, stream, size, &used, &frame) == 0);
    for (int i = 0; i < 3; i++) {
        cr_assert(thrum_frame_pair(&frame, &cursor, &pair) == 0);
        cr_expect(strcmp(pair.key, pairs[i].key) == 0 && pair.size == pairs[i].size);
    }
    cr_expect(thrum_frame_pair(&frame, &cursor, &pair) == ENODATA);
    cr_assert(thrum_frame_find(&frame, "a", &pair) == 0);
    cr_expect(*(const char *)pair.value == '1');
    cr_expect(thrum_frame_find(&frame, "c", &pair) == ENOENT);
    thrum_frames_destroy(frames);
}

Test(frame, errors)
{
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    thrum_pair_t pair = {"k", NULL, 0};
    const struct iovec piece = {NULL, 0};
    size_t used = 0;
    int fd[2];
    pair_of(fd);
    config.length_size = 3;
    cr_expect(thrum_frames_create(&frames, &config) == EINVAL);
    cr_expect(thrum_frame_send(fd[0], &config, "", 0, SOON) == EINVAL);
    config.length_size = 4;
    config.config_size = 1;
    cr_expect(thrum_frames_create(&frames, &config) == EINVAL);
    cr_expect(thrum_frames_create(NULL, NULL) == EINVAL);
    cr_assert(thrum_frames_create(&frames, NULL) == 0);
    cr_expect(thrum_frames_feed(NULL, "", 0, &used, &frame) == EINVAL);
    cr_expect(thrum_frames_feed(frames, NULL, 1, &used, &frame) == EINVAL);
    cr_expect(thrum_frames_feed(frames, "", 0, NULL, &frame) == EINVAL);
    cr_expect(thrum_frames_feed(frames, "", 0, &used, NULL) == EINVAL);
    cr_expect(thrum_frames_receive(frames, fd[0], NULL, SOON) == EINVAL);
    cr_expect(thrum_frames_receive(NULL, fd[0], &frame, SOON) == EINVAL);
    cr_expect(thrum_frames_receive(frames, -1, &frame, SOON) == EBADF);
    cr_expect(thrum_frame_send(fd[0], NULL, NULL, 1, SOON) == EINVAL);
    cr_expect(thrum_frame_sendv(fd[0], NULL, &pair, 1, &piece, 1, SOON) == EINVAL); /* has none */
    config = (thrum_frame_config_t)THRUM_FRAME_CONFIG_INIT;
    config.pairs = true;
    config.max_size = 4;
    cr_expect(thrum_frame_sendv(fd[0], &config, NULL, 1, &piece, 1, SOON) == EINVAL);
    cr_expect(thrum_frame_sendv(fd[0], &config, &pair, 1, NULL, 1, SOON) == EINVAL);
    pair.size = 1;
    cr_expect(thrum_frame_sendv(fd[0], &config, &pair, 1, &piece, 1, SOON) == EINVAL);
    cr_expect(thrum_frame_send(fd[0], &config, "12345", 5, SOON) == EMSGSIZE);
    config.max_pairs = 8;
    pair = (thrum_pair_t){"k", "12", 2};
    cr_expect(thrum_frame_sendv(fd[0], &config, &pair, 1, &piece, 1, SOON) == EMSGSIZE);
    cr_expect(thrum_frame_find(NULL, "k", &pair) == EINVAL);
    cr_expect(recv(fd[1], &used, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN); /* nothing was sent */
    thrum_frames_destroy(frames);
    thrum_frames_destroy(NULL);
    close(fd[1]);
    cr_expect(thrum_frame_send(fd[0], NULL, "x", 1, SOON) == EPIPE);
    close(fd[0]);
}
