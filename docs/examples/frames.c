/* Messages on a stream: a record packed into the body, pairs of key and value ahead of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <thrum/frame.h>
#include <thrum/pack.h>
#include <thrum/thread.h>

static const thrum_frame_config_t with_pairs = {.pairs = true, .max_size = 1024};

static int receive(void *arg, void **result)
{
    const int fd = *(int *)arg;
    thrum_frames_t *frames = NULL;
    thrum_frame_t frame;
    (void)result;
    int err = thrum_frames_create(&frames, &with_pairs);
    while (err == 0) {
        thrum_pair_t unit;
        uint32_t sensor = 0;
        double value = 0;
        err = thrum_frames_receive(frames, fd, &frame, thrum_after(THRUM_S(10)));
        if (err != 0)
            break;
        err = thrum_unpack(frame.body, frame.size, NULL, ">Id", &sensor, &value);
        if (err == 0)
            err = thrum_frame_find(&frame, "unit", &unit);
        if (err == 0)
            printf("sensor %" PRIu32 ": %.1f %.*s\n", sensor, value, (int)unit.size,
                   (const char *)unit.value);
    }
    thrum_frames_destroy(frames);
    return err == ENODATA ? 0 : err; /* the stream has ended after a whole frame */
}

int main(void)
{
    int fd[2];
    thrum_thread_t *receiver = NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0 ||
        thrum_thread_spawn(&receiver, receive, &fd[1], NULL) != 0)
        return 1;
    for (unsigned sensor = 1; sensor <= 3; sensor++) {
        const thrum_pair_t unit = {"unit", "C", 1};
        unsigned char record[12];
        size_t n = 0;
        if (thrum_pack(record, sizeof record, &n, ">Id", sensor, 20.0 + sensor / 2.0) != 0)
            return 1;
        const struct iovec body = {record, n};
        if (thrum_frame_sendv(fd[0], &with_pairs, &unit, 1, &body, 1, thrum_after(THRUM_S(10))) !=
            0)
            return 1;
    }
    close(fd[0]);
    const int err = thrum_thread_join(receiver, NULL);
    thrum_thread_release(receiver);
    close(fd[1]);
    return err;
}
