#ifndef TESTS_TRANSFERS_H
#define TESTS_TRANSFERS_H

/*
 * Two folders, files of some size in them, and a receiver on a thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <criterion/criterion.h>

#include <thrum/thrum.h>

#define MEGABYTE ((size_t)1 << 20)

struct place {
    char root[64];
    char from[96];
    char to[96];
    char path[160]; /* of the file that is sent */
};

static inline void place_make(struct place *p)
{
    snprintf(p->root, sizeof p->root, "/tmp/thrum_transfer_XXXXXX");
    cr_assert(mkdtemp(p->root) != NULL);
    snprintf(p->from, sizeof p->from, "%s/from", p->root);
    snprintf(p->to, sizeof p->to, "%s/to", p->root);
    snprintf(p->path, sizeof p->path, "%s/file", p->from);
    cr_assert(mkdir(p->from, 0700) == 0 && mkdir(p->to, 0700) == 0);
}

static inline void place_remove(const struct place *p)
{
    const char *argv[] = {"rm", "-rf", p->root, NULL};
    thrum_output_t output;
    if (thrum_subprocess_run(argv, NULL, NULL, 0, 100, THRUM_FOREVER, &output) == 0)
        thrum_output_free(&output);
}

static inline unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + i / 251 + (i >> 16));
}

static inline void write_file(const char *path, size_t size)
{
    unsigned char *data = malloc(size + 1);
    FILE *f = fopen(path, "w");
    cr_assert(data != NULL && f != NULL);
    for (size_t i = 0; i < size; i++)
        data[i] = byte_at(i);
    cr_assert(fwrite(data, 1, size, f) == size && fclose(f) == 0);
    free(data);
}

static inline const char *path_in(const char *folder, const char *name)
{
    static _Thread_local char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* -1: there is none. */
static inline long size_in(const char *folder, const char *name)
{
    struct stat about;
    return stat(path_in(folder, name), &about) == 0 ? (long)about.st_size : -1;
}

static inline bool is_whole(const char *folder, const char *name, size_t size)
{
    bool right = size_in(folder, name) == (long)size;
    FILE *f = right ? fopen(path_in(folder, name), "r") : NULL;
    for (size_t i = 0; right && i < size; i++)
        right = fgetc(f) == byte_at(i);
    if (f != NULL)
        fclose(f);
    return right;
}

struct receiver {
    int fd;
    const char *folder;
    thrum_transfer_config_t config;
    thrum_transfer_info_t info;
    thrum_thread_t *thread;
};

static inline int receiver_main(void *arg, void **result)
{
    struct receiver *r = arg;
    (void)result;
    const int err = thrum_transfer_receive(r->fd, r->folder, &r->config, &r->info);
    if (err != 0 && err != ENODATA && !r->info.refused)
        shutdown(r->fd, SHUT_RDWR);
    return err;
}

static inline void receiver_start(struct receiver *r, int fd, const char *folder)
{
    r->fd = fd;
    r->folder = folder;
    if (r->config.config_size == 0)
        r->config = (thrum_transfer_config_t)THRUM_TRANSFER_CONFIG_INIT;
    cr_assert(thrum_thread_spawn(&r->thread, receiver_main, r, NULL) == 0);
}

static inline int receiver_join(struct receiver *r)
{
    const int err = thrum_thread_join(r->thread, NULL);
    thrum_thread_release(r->thread);
    return err;
}

static inline void pair_of(int fd[2], bool nonblocking)
{
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0, fd) == 0);
}

static inline void close_pair(const int fd[2])
{
    close(fd[0]);
    close(fd[1]);
}

#endif /* TESTS_TRANSFERS_H */
