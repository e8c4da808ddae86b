#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "os/memory_file.h"
#include "support/child.h"

TestSuite(memory_file, .timeout = 40);

static struct iovec part(const char *text)
{
    return (struct iovec){(void *)(uintptr_t)text, strlen(text)};
}

static int made(void)
{
    int fd = -1;
    cr_assert_eq(thi_memory_file("thrum-test", &fd), 0);
    cr_assert_geq(fd, 0);
    return fd;
}

Test(memory_file, is_filled_once_and_stays_as_it_is)
{
    const struct iovec parts[] = {part("ab"), part(""), part("cde")};
    char text[6] = "";
    uint64_t size = 99;
    const int fd = made();
    cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_expect_not(thi_memory_is_filled(fd, &size));
    cr_expect_eq(size, 99u);
    cr_expect_eq(thi_memory_fill(fd, parts, 3), 0);
    cr_expect(thi_memory_is_filled(fd, &size));
    cr_expect_eq(size, 5u);
    cr_expect(write(fd, "x", 1) < 0 && ftruncate(fd, 3) < 0 && ftruncate(fd, 9) < 0);
    cr_expect_eq(thi_memory_read(fd, text, 5, 0), 0);
    cr_expect_str_eq(text, "abcde");
    cr_expect_eq(thi_memory_read(fd, text, 2, 3), 0);
    cr_expect_str_eq(text, "decde");
    cr_expect_eq(thi_memory_read(fd, text, 3, 3), EBADMSG);
    cr_expect_eq(thi_memory_read(fd, text, 0, 5), 0);
    close(fd);
}

/* A system may not let there be any others. */
Test(memory_file, is_never_executed)
{
    struct stat status;
    const int fd = made();
    const int asked = memfd_create("test", MFD_CLOEXEC | 8u /* MFD_NOEXEC_SEAL */);
    if (asked < 0)
        cr_skip_test("the system does not know of such");
    cr_expect(fstat(fd, &status) == 0 && (status.st_mode & 0111) == 0);
    int segment = -1;
    cr_assert_eq(thi_segment_create("thrum-test", &segment), 0);
    cr_expect(fstat(segment, &status) == 0 && (status.st_mode & 0111) == 0);
    close(segment);
    close(asked);
    close(fd);
}

Test(memory_file, others_are_none)
{
    uint64_t size = 0;
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const int fd = made();
    cr_expect(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    cr_expect_not(thi_memory_is_filled(fd, &size), "it can be written to");
    cr_expect_not(thi_memory_is_filled(ends[0], &size));
    cr_expect_not(thi_memory_is_filled(-1, &size));
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

static int fill_beyond_the_limit(void *arg)
{
    const struct rlimit little = {4096, 4096};
    static char much[4097];
    const struct iovec parts[] = {{much, 4000}, {much, 97}};
    const int fd = *(int *)arg;
    signal(SIGXFSZ, SIG_DFL);
    if (setrlimit(RLIMIT_FSIZE, &little) != 0)
        return 1;
    if (thi_memory_fill(fd, parts, 2) != ENOMEM || lseek(fd, 0, SEEK_END) != 0)
        return 2;
    return thi_memory_fill(fd, (struct iovec[]){{much, 4096}}, 1);
}

Test(memory_file, a_limit_is_an_error_and_no_death)
{
    int fd = made();
    cr_expect_eq(child_run(fill_beyond_the_limit, &fd), 0);
    close(fd);
}
