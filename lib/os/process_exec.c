/*
 * Child processes by a fresh execution of the program. It is handed a letter: a file in memory that begins with
 * a head, which says where its gate is (process.c). What a forked child does at its gate, it does when
 * it reads the letter.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/process.h"

#if defined(__linux__)
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

struct head {
    int32_t gate;
    int32_t dies_with_parent;
};

#define ARGUMENT "--thrum-process="

static int open_letter(thi_child_t *child)
{
    thi_children_enter();
    const long fd = thi_fault(THI_FAULT_LETTER)
                        ? (errno = EMFILE, -1L)
                        : syscall(SYS_memfd_create, "thrum", 1u /* cloexec */);
    const int err = fd < 0 ? errno : 0;
    child->letter = (int)fd;
    thi_children_leave();
    return err == ENOSPC ? ENOMEM : err;
}

static int write_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = thi_fd_write(fd, (const char *)data + done, size - done);
        if (n < 0 && errno != EINTR)
            return ENOMEM; /* no room, or a limit on the size of files */
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_letter(const thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    const struct head head = {child->gate, dies_with_parent};
    int err = write_all(child->letter, &head, sizeof head);
    for (int i = 0; err == 0 && i < count; i++)
        err = write_all(child->letter, text[i].iov_base, text[i].iov_len);
    return err;
}

/* The new program begins with what a forked child would be given as its mask. */
static int set_mask(posix_spawnattr_t *attributes)
{
    sigset_t mask;
    thi_thread_let_through(&mask);
    const int err = posix_spawnattr_setsigmask(attributes, &mask);
    return err != 0 ? err : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
}

/* Onto themselves, which keeps them open over the execution; and not what ties this process to its parent. */
static int set_descriptors(posix_spawn_file_actions_t *actions, const thi_child_t *child)
{
    int err = posix_spawn_file_actions_adddup2(actions, child->gate, child->gate);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(actions, child->letter, child->letter);
    const int own = thi_gate_own();
    if (err == 0 && own >= 0)
        err = posix_spawn_file_actions_addclose(actions, own);
    return err;
}

static int execute(thi_child_t *child)
{
    char argument[sizeof ARGUMENT + 16];
    char *const argv[] = {program_invocation_name, argument, NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    snprintf(argument, sizeof argument, ARGUMENT "%d", child->letter);
    if (thi_fault(THI_FAULT_FORK))
        return EAGAIN;
    if (posix_spawnattr_init(&attributes) != 0)
        return ENOMEM;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        posix_spawnattr_destroy(&attributes);
        return ENOMEM;
    }
    int err = set_mask(&attributes);
    if (err == 0)
        err = set_descriptors(&actions, child);
    if (err == 0)
        err = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    child->pid = pid;
    return err == 0 || err == ENOMEM || err == EAGAIN ? err : ENOSYS;
}

static int do_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                      int count)
{
    if (getauxval(AT_SECURE) != 0)
        return ENOTSUP; /* its user could write the letter */
    int err = thi_gate_open(child);
    if (err == 0)
        err = open_letter(child);
    if (err == 0)
        err = write_letter(child, dies_with_parent, text, count);
    if (err == 0)
        err = execute(child);
    if (err == 0)
        err = thi_gate_admit(child, dies_with_parent);
    thi_children_enter();
    thi_child_close_fd(&child->letter);
    thi_children_leave();
    return err;
}

int thi_process_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_children_enter(); /* nobody forks while it is half written */
    thi_process_none(child);
    thi_children_leave();
    const int err = do_execute(child, dies_with_parent, text, count);
    if (err != 0)
        thi_process_close(child);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

int thi_process_letter(int argc, char **argv)
{
    const size_t length = sizeof ARGUMENT - 1;
    if (argc < 2 || strncmp(argv[1], ARGUMENT, length) != 0)
        return -1;
    return atoi(argv[1] + length);
}

static bool read_all(int fd, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = thi_fd_read(fd, (char *)data + done, size - done);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* What was written to the letter. */
static void *read_letter(int letter, struct head *head, size_t *size)
{
    struct stat about;
    if (fstat(letter, &about) != 0 || about.st_size < (off_t)sizeof *head ||
        lseek(letter, 0, SEEK_SET) != 0 || !read_all(letter, head, sizeof *head))
        return NULL;
    *size = (size_t)about.st_size - sizeof *head;
    char *text = thi_alloc(*size + 1); /* never nothing */
    return text != NULL && read_all(letter, text, *size) ? text : NULL;
}

void *thi_process_arrive(int letter, size_t *size)
{
    struct head head = {-1, 0};
    void *text = read_letter(letter, &head, size);
    thi_fd_close(letter);
    thi_gate_pass(text != NULL ? head.gate : -1, head.dies_with_parent != 0);
    return text;
}
#else
int thi_process_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count)
{
    (void)dies_with_parent, (void)text, (void)count;
    thi_process_none(child);
    return ENOSYS;
}

int thi_process_letter(int argc, char **argv)
{
    (void)argc, (void)argv;
    return -1;
}

void *thi_process_arrive(int letter, size_t *size)
{
    (void)letter, (void)size;
    return NULL;
}
#endif
