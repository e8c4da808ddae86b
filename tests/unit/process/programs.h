#ifndef TESTS_PROCESS_PROGRAMS_H
#define TESTS_PROCESS_PROGRAMS_H

/*
 * Running small programs, and counting what a test may not leave behind.
 */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/thrum.h>

#include "coroutine/sockets.h"
#include "support/left_behind.h"

#define PATIENCE thrum_after(THRUM_S(20))

static inline thrum_subprocess_config_t piped(void)
{
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    config.in.kind = THRUM_STREAM_PIPE;
    config.out.kind = THRUM_STREAM_PIPE;
    config.err.kind = THRUM_STREAM_PIPE;
    return config;
}

static inline thrum_subprocess_t *shell(const char *command,
                                        const thrum_subprocess_config_t *config)
{
    thrum_subprocess_t *p = NULL;
    EXPECT_CALL(0, thrum_subprocess_shell(&p, command, config));
    cr_assert_not_null(p);
    return p;
}

/* Runs a line of the shell to its end. What it writes is to be given back. */
static inline thrum_output_t heard(const char *command, const thrum_subprocess_config_t *config)
{
    thrum_output_t output = {0};
    thrum_subprocess_t *p = shell(command, config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 1 << 20, PATIENCE, &output));
    thrum_subprocess_release(p);
    return output;
}

#define EXPECT_HEARD(text, command, config)                                                        \
    do {                                                                                           \
        thrum_output_t heard_output = heard(command, config);                                      \
        cr_expect_str_eq(heard_output.out, text);                                                  \
        cr_expect_eq(heard_output.err_size, 0u);                                                   \
        cr_expect_eq(heard_output.code, 0);                                                        \
        thrum_output_free(&heard_output);                                                          \
    } while (0)

/* What the library opens for a wait stays open. */
static inline void settle(void)
{
    struct ends e = stream_pair();
    EXPECT_CALL(ETIMEDOUT, thrum_io_wait(e.fd[0], THRUM_IO_IN, SOON));
    close_ends(e);
}

static inline char *noise(size_t size)
{
    char *data = malloc(size);
    uint32_t state = 1;
    if (data == NULL)
        abort();
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (char)(state >> 24);
    }
    return data;
}

#endif /* TESTS_PROCESS_PROGRAMS_H */
