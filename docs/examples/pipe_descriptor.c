/*
 * A pipe between two processes, and descriptors through it. The child may not open files itself, let us say; it asks
 * for them by name, and gets what the parent has opened for it. Then it is gone, which the parent is told at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define PATIENCE thrum_after(THRUM_S(20))

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        _exit(EXIT_FAILURE);
    }
}

/* The child asks for a file, and reads what it gets. */
static size_t length_of(thrum_pipe_t *parent, const char *name)
{
    char reply[64];
    size_t size = 0;
    int fd = -1;
    size_t n = 1;
    size_t length = 0;
    char data[256];
    must(thrum_pipe_send(parent, name, strlen(name)));
    must(thrum_pipe_recv_fds(parent, reply, sizeof reply, &size, &fd, &n, PATIENCE));
    if (n == 0)
        return 0; /* it was refused */
    for (size_t some = 1; some != 0; length += some)
        must(thrum_io_read(fd, data, sizeof data, &some, PATIENCE));
    must(thrum_io_close(fd));
    return length;
}

static void be_child(thrum_pipe_t *parent)
{
    char text[64];
    const size_t notes = length_of(parent, "notes");
    const size_t secrets = length_of(parent, "secrets");
    const int n = snprintf(text, sizeof text, "mine had %zu bytes, the other %zu", notes, secrets);
    must(thrum_pipe_send(parent, text, (size_t)n));
    _exit(0); /* closes its end */
}

static int open_notes(void)
{
    FILE *file = tmpfile();
    must(file != NULL && fputs("all that there is to say\n", file) >= 0 && fflush(file) == 0
             ? 0
             : errno);
    rewind(file);
    return fileno(file);
}

static void serve(thrum_pipe_t *child)
{
    char text[64];
    size_t size = 0;
    const int notes = open_notes();
    int err = 0;
    while ((err = thrum_pipe_recv_until(child, text, sizeof text - 1, &size, PATIENCE)) == 0) {
        text[size] = '\0';
        if (strcmp(text, "notes") == 0)
            must(thrum_pipe_send_fds(child, "here", 4, &notes, 1, PATIENCE));
        else if (strcmp(text, "secrets") == 0)
            must(thrum_pipe_send(child, "no", 2));
        else
            printf("the child says: %s\n", text);
    }
    printf("the child is gone: %s\n", err == ESHUTDOWN ? "ESHUTDOWN" : thrum_strerror(err));
    printf("nobody is there to send to: %s\n",
           thrum_pipe_send(child, "hello?", 6) == EPIPE ? "EPIPE" : "?");
}

int main(void)
{
    thrum_pipe_t *here = NULL;
    thrum_pipe_t *there = NULL;
    int status = 0;
    must(thrum_pipe_create(&here, &there));
    const pid_t pid = fork();
    must(pid >= 0 ? 0 : errno);
    if (pid == 0) {
        thrum_pipe_destroy(here); /* each has one end */
        be_child(there);
    }
    thrum_pipe_destroy(there);
    serve(here);
    thrum_pipe_destroy(here);
    must(waitpid(pid, &status, 0) == pid ? 0 : errno);
    return status;
}
