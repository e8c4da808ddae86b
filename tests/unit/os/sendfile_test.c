#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <criterion/criterion.h>

#include "os/os.h"

TestSuite(sendfile, .timeout = 30);

enum { SIZE = 8 << 20 };

struct sender {
    int socket, file;
    int64_t offset;
    ssize_t n;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    s->n = thi_fd_sendfile(s->socket, s->file, &s->offset, SIZE);
    return NULL;
}

/* The peer closes while some of it has been sent, and the rest is waiting for room: no signal. */
Test(sendfile, the_peer_closes_in_the_middle)
{
    FILE *f = tmpfile();
    cr_assert(f != NULL && ftruncate(fileno(f), SIZE) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        char data[10000];
        int fd[2];
        cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
        struct sender s = {fd[0], fileno(f), 0, 0};
        cr_assert(pthread_create(&thread, NULL, send_all, &s) == 0);
        cr_assert(read(fd[1], data, sizeof data) > 0); /* it has begun */
        close(fd[1]);
        cr_assert(pthread_join(thread, NULL) == 0);
        cr_expect(s.n > 0 && s.n < SIZE && s.offset == s.n, "%zd", s.n);
        cr_expect(thi_fd_sendfile(fd[0], s.file, &s.offset, SIZE) == -EPIPE);
        close(fd[0]);
    }
    fclose(f);
}
