/* Frames by connections, in every model. */
#include <thrum/frame.h>

#include "net/servers.h"

TestSuite(server_frames, .timeout = 60);

#define MOST 100000

static int serves_frames(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    thrum_frame_t frame;
    int err = 0;
    while ((err = thrum_conn_receive(c, &frame)) == 0) {
        if (frame.size == 7 && memcmp(frame.body, "in half", 7) == 0) {
            const struct iovec pieces[] = {{(void *)(uintptr_t)frame.body, 3},
                                           {(char *)(uintptr_t)frame.body + 3, 4}};
            err = thrum_conn_sendv(c, NULL, 0, pieces, 2);
        } else {
            err = thrum_conn_send(c, frame.body, frame.size);
        }
        if (err != 0)
            break;
    }
    note->err = err;
    return err == ENODATA ? 0 : err;
}

static thrum_server_config_t frames_config(const struct model *m, struct note *note)
{
    thrum_server_config_t config = server_config(m, serves_frames, note);
    config.max_request = MOST;
    config.frames.length_size = 8;
    return config;
}

static void expect_frame(int fd, thrum_frames_t *frames, const void *body, size_t size)
{
    thrum_frame_t frame;
    cr_assert_eq(thrum_frames_receive(frames, fd, &frame, thrum_after(LONG)), 0);
    cr_expect_eq(frame.size, size);
    cr_expect(size == 0 || memcmp(frame.body, body, size) == 0);
}

static void sizes(const struct model *m)
{
    static unsigned char body[MOST];
    static const size_t all[] = {0, 1, 7, 4096, 16384, 16385, MOST - 1, MOST};
    struct note *note = note_new();
    const thrum_server_config_t config = frames_config(m, note);
    thrum_server_t *server = server_started(&config);
    thrum_frames_t *frames = NULL;
    thrum_frame_config_t own = config.frames;
    own.max_size = MOST;
    cr_assert_eq(thrum_frames_create(&frames, &own), 0);
    const int fd = connected(server);
    for (size_t i = 0; i < MOST; i++)
        body[i] = (unsigned char)(i * 7 >> 3);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cr_assert_eq(thrum_frame_send(fd, &own, body, all[i], thrum_after(LONG)), 0);
        expect_frame(fd, frames, body, all[i]);
    }
    cr_assert_eq(thrum_frame_send(fd, &own, "in half", 7, thrum_after(LONG)), 0);
    expect_frame(fd, frames, "in half", 7);
    shutdown(fd, SHUT_WR);
    expect_end(fd);
    hang_up(fd);
    thrum_frames_destroy(frames);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    cr_expect_eq(note->err, ENODATA);
    cr_expect_eq(stats_of(server).requests, sizeof all / sizeof *all + 1);
    cr_expect_eq(stats_of(server).completed, 1u);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_frames, of_every_size)
{
    for_each_model(sizes);
}

/* What is too much is refused by what it says of itself. */
static void too_much(const struct model *m)
{
    static const struct {
        const char *head;
        size_t size;
        int err;
    } cases[] = {{"\377\377\377\377\377\377\377\377", 8, EMSGSIZE},
                 {"\0\0\0\0\0\1\206\241", 8, EMSGSIZE}, /* one more than it may be */
                 {"\0\0\0\0\0\1\206\240", 8, EBADMSG}, /* as much as it may, but it does not come */
                 {"\0\0\0\0\0\0\0\5hal", 11, EBADMSG},
                 {"\0\0\0", 3, EBADMSG},
                 {"", 0, ENODATA}};
    struct note *note = note_new();
    const thrum_server_config_t config = frames_config(m, note);
    thrum_server_t *server = server_started(&config);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd = connected(server);
        say(fd, cases[i].head, cases[i].size);
        if (cases[i].err != EMSGSIZE)
            shutdown(fd, SHUT_WR);
        expect_end(fd);
        cr_expect_eq(note->err, cases[i].err, "%zu: %d", i, note->err);
        hang_up(fd);
    }
    stop_and_destroy(server);
    note_free(note);
}

Test(server_frames, too_large_or_torn)
{
    for_each_model(too_much);
}

/* Many at once, byte by byte, and a peer that goes in the middle. */
static void cut(const struct model *m)
{
    static const char stream[] = "\0\0\0\0\0\0\0\3one\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5three";
    struct note *note = note_new();
    const thrum_server_config_t config = frames_config(m, note);
    thrum_server_t *server = server_started(&config);
    char got[sizeof stream];
    for (size_t step = 1; step <= sizeof stream; step += sizeof stream - 1) {
        const int fd = connected(server);
        for (size_t at = 0; at < sizeof stream - 1; at += step)
            say(fd, stream + at, step == 1 ? 1 : sizeof stream - 1);
        cr_expect_eq(hear(fd, got, sizeof stream - 1), sizeof stream - 1);
        cr_expect_eq(memcmp(got, stream, sizeof stream - 1), 0);
        say(fd, stream, 10);
        hang_up_with_reset(fd);
    }
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_frames, cut_anywhere)
{
    for_each_model(cut);
}

/* A frame of which half has come when the server stops is finished, and the next is not begun. */
static int stop_it(void *arg)
{
    return thrum_server_stop(arg, thrum_after(LONG));
}

static void stops(const struct model *m)
{
    struct note *note = note_new();
    const thrum_server_config_t config = frames_config(m, note);
    thrum_server_t *server = server_started(&config);
    struct caller stop;
    const int fd = connected(server);
    say(fd, "\0\0\0\0\0\0\0\5hal", 11);
    AWAIT(stats_of(server).requests == 1);
    caller_start(&stop, stop_it, server);
    int late = 0;
    while ((late = try_connect(thrum_server_port(server))) >= 0)
        hang_up(late);
    say(fd, "ve", 2);
    char got[13];
    cr_expect_eq(hear(fd, got, 13), 13u);
    cr_expect_eq(memcmp(got, "\0\0\0\0\0\0\0\5halve", 13), 0);
    expect_end(fd);
    hang_up(fd);
    cr_expect_eq(caller_join(&stop), 0);
    cr_expect_eq(note->err, ENODATA);
    expect_balance(server);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_frames, half_of_one_when_it_stops)
{
    for_each_model(stops);
}
