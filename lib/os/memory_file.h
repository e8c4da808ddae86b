#ifndef THI_OS_MEMORY_FILE_H
#define THI_OS_MEMORY_FILE_H

/*
 * What segment.c, packet.c and process_spawn.c share: files in memory, which no file system knows of. `errno` is
 * the caller's to keep.
 */

#include "os/os.h"

struct iovec;

/* Makes one: empty, close-on-exec, and never to be executed. 0, or what memfd_create says. */
int thi_memory_file(const char *name, int *fd);

/* Whether the process may make a file so large. Beyond that there is not only an error, but a signal that kills. */
bool thi_memory_may_have(size_t size);

/* Gives an empty one its content, the parts one behind the other; from then on nobody can change it. 0; ENOMEM:
 * the system has no room, or the process may not make files so large; an error of write. */
int thi_memory_fill(int fd, const struct iovec *parts, int count);

/* Whether it is one that nobody can change any more, so that reading it does not wait; `*size` gets its bytes. */
bool thi_memory_is_filled(int fd, uint64_t *size);

/* The bytes from `at` on. 0; EBADMSG: there are fewer; an error of read. */
int thi_memory_read(int fd, void *data, size_t size, size_t at);

#endif /* THI_OS_MEMORY_FILE_H */
