/*
 * No memory, no descriptors, or a disk that fails: a file is received whole or not at all, both sides come back, nothing
 * of a transfer stays but its part, and that can be gone on with.
 */
#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(transfer, .timeout = 60);

enum { SIZE = 400000 };

static char folder[64];
static char file[96];
static char stored[96];

static void make_place(void)
{
    static char data[SIZE];
    snprintf(folder, sizeof folder, "/tmp/thrum_transfer_XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(stored, sizeof stored, "%s/stored", folder);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 31 + i / 977);
    FILE *f = fopen(file, "w");
    cr_assert(f != NULL && fwrite(data, 1, SIZE, f) == SIZE && fclose(f) == 0);
}

static void remove_place(void)
{
    char part[112];
    snprintf(part, sizeof part, "%s.part", stored);
    unlink(part);
    unlink(stored);
    unlink(file);
    cr_expect(rmdir(folder) == 0); /* there is nothing else */
}

static bool is_whole(void)
{
    FILE *a = fopen(file, "r");
    FILE *b = fopen(stored, "r");
    int x = b != NULL ? 0 : EOF;
    bool same = b != NULL;
    while (same && x != EOF)
        same = (x = fgetc(a)) == fgetc(b);
    if (b != NULL)
        fclose(b);
    fclose(a);
    return same;
}

/* Files and sockets: what threads wait by is kept for other threads. */
static int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char what[8] = "";
        if (readlinkat(dirfd(dir), entry->d_name, what, sizeof what) > 0)
            n += what[0] == '/' || strncmp(what, "socket:", 7) == 0;
    }
    closedir(dir);
    return n;
}

struct receiver {
    int fd;
    int err;
};

static int receive(void *arg)
{
    struct receiver *r = arg;
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    config.name = "stored";
    config.replace = true;
    r->err = thrum_transfer_receive(r->fd, folder, &config, NULL);
    const int said = errno;
    shutdown(r->fd, SHUT_RDWR);
    errno = said;
    return 0;
}

/* 0; or the line of what is wrong. */
static int transfer(bool *sent)
{
    int fd[2];
    struct caller c;
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    struct receiver r = {fd[1], -1};
    caller_start(&c, receive, &r);
    const int err = thrum_transfer_send(fd[0], file, NULL, NULL);
    shutdown(fd[0], SHUT_RDWR);
    caller_join(&c);
    thi_fd_close(fd[0]);
    thi_fd_close(fd[1]);
    *sent = err == 0;
    NEED(err >= 0 && r.err >= 0);
    NEED(err != 0 || r.err == 0); /* who has sent it knows that it is there */
    NEED(err != 0 || access(stored, F_OK) == 0);
    return 0;
}

static int fail(thi_fault_t kind, unsigned nth, bool *sent)
{
    const int before = count_fds();
    bool again = false;
    unlink(stored);
    thi_fault_arm(kind, nth);
    const int line = transfer(sent);
    thi_fault_arm(kind, 0);
    NEED(line == 0);
    NEED(access(stored, F_OK) != 0 || is_whole());
    NEED(transfer(&again) == 0 && again &&
         is_whole()); /* from what there is, or from the beginning */
    NEED(count_fds() <= before);
    return 0;
}

static int walk_all(void)
{
    static const thi_fault_t kinds[] = {THI_FAULT_ALLOC, THI_FAULT_OPEN, THI_FAULT_DISK};
    bool sent = false;
    NEED(transfer(&sent) == 0 && sent);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        unsigned nth = 0;
        sent = false;
        while (!sent && nth < 100) {
            const int line = fail(kinds[k], ++nth, &sent);
            if (line != 0)
                return fprintf(stderr, "kind %d, the %u.: line %d\n", (int)kinds[k], nth, line),
                       line;
        }
        NEED(sent && nth > 2);
        NEED(fail(kinds[k], THI_FAULT_ALWAYS, &sent) == 0);
    }
    return 0;
}

static int walk(void *arg)
{
    const int saved = errno;
    (void)arg;
    const int line = walk_all();
    errno = saved;
    return line;
}

Test(transfer, whole_or_not_at_all, .init = count_memory)
{
    make_place();
    run_alone(walk, NULL);
    remove_place();
}
