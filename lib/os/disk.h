#ifndef THI_DISK_H
#define THI_DISK_H

/*
 * Files that are sent, and what comes of them when they are received; a part of os.h. 0 or an error of the system. A part
 * is a file that is being received: regular, of one name, and locked. Descriptors are close-on-exec.
 */
#include "os/os.h"

int thi_folder_open(const char *path, int *fd);
int thi_file_open(const char *path, int *fd, int64_t *size); /* EISDIR: it is not a regular one */
bool thi_file_exists(int folder, const char *name);
ssize_t thi_file_read(int fd, void *buf, size_t size, int64_t offset);     /* negative: an error */
int thi_file_write(int fd, const void *data, size_t size, int64_t offset); /* all of it */
int thi_file_cut(int fd, int64_t size);
int thi_part_open(int folder, const char *name, unsigned mode, int *fd,
                  int64_t *size); /* EBUSY: somebody else's */
int thi_part_keep(int folder, int fd, const char *part, const char *name,
                  bool replace); /* stored under its name, for good. EEXIST */
void thi_part_drop(int folder, const char *name);

#endif /* THI_DISK_H */
