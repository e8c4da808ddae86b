/* What the servers and their load share. */
#ifndef THRUM_BENCH_SERVERS_H
#define THRUM_BENCH_SERVERS_H

#include <stdbool.h>
#include <stddef.h>

#define BACKLOG 4096
#define HELLO_BODY "hello\n"
#define HELLO                                                                                      \
    "HTTP/1.1 200 OK\r\n"                                                                          \
    "Content-Type: text/plain\r\n"                                                                 \
    "Content-Length: 6\r\n"                                                                        \
    "Connection: keep-alive\r\n"                                                                   \
    "\r\n" HELLO_BODY

/* Ends the process with a message; `err` 0: there is no more to say. */
_Noreturn void fail(const char *what, int err);

/* The same with errno's when `ok` is false. */
void must(bool ok, const char *what);

/* A socket that listens on a port of 127.0.0.1 that the system chooses. */
int listen_on_loopback(void);

/* Tells on standard output where it listens: the server may be used from now on. */
void announce_port(unsigned port);
void announce(int listener);

/* As many descriptors as this process may have. */
void raise_descriptor_limit(void);

/* Ends the process when its standard input does: no server outlives who started it. A thread waits for that, so that
 * none of the servers is a process of one thread, to which glibc is kinder. */
void end_with_input(void);

void send_at_once(int fd);

/* The value behind `name` in the arguments, or `otherwise`. */
const char *argument(int argc, char **argv, const char *name, const char *otherwise);

#endif /* THRUM_BENCH_SERVERS_H */
