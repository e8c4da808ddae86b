/* A thread for each connection, with calls that block. */
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

static void *serve(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    char data[1024];
    ssize_t n = 0;
    send_at_once(fd);
    while ((n = recv(fd, data, sizeof data, 0)) > 0)
        if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    close(fd);
    return NULL;
}

int main(void)
{
    pthread_attr_t detached;
    raise_descriptor_limit();
    end_with_input();
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    const int listener = listen_on_loopback();
    announce(listener);
    for (;;) {
        pthread_t thread;
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        const int err = pthread_create(&thread, &detached, serve, (void *)(intptr_t)fd);
        if (err != 0)
            fail("pthread_create", err);
    }
}
