#ifndef THRUM_TRANSFER_H
#define THRUM_TRANSFER_H

#include <thrum/base.h>
#include <thrum/server.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Files over a stream: whole, checked, and taken up again where they broke off.
 *
 *     err = thrum_transfer_send(fd, "/var/log/big.log", NULL, NULL);          // one side
 *     err = thrum_transfer_receive(fd, "/srv/incoming", NULL, NULL);          // the other
 *
 *     static int take(thrum_conn_t *c, void *ctx)                             // or in the handler of a server
 *     {
 *         return thrum_conn_receive_file(c, ctx, NULL, NULL);
 *     }
 *
 * Whole     What is received is written to "name.part" in the same folder. When all has come and the checksum of the
 *           file fits it is synced and gets its name, in one step; until then nobody sees it under that.
 * Resume    A transfer that breaks off, is cancelled, or fails to be written leaves the part. The next one
 *           of that name says how much of it there is, with its checksum; if the beginning of the sender's file has the
 *           same, only the rest is sent, else all of it. Two at a time of one name: EBUSY for the second.
 * Trust     The receiver says where a file goes. Its name, if it takes the sender's, is that of a file in the folder, or
 *           refused before anything is written (EINVAL: empty, ".", "..", with a slash or a zero, longer than 250
 *           bytes, or ending in ".part"), and so is a size over the limit (EMSGSIZE). Neither a part nor a file in
 *           its way is followed where it is a symbolic link. The checksum (XXH64) finds damage, not intent.
 * Stream    Frames with pairs and lengths of 8 bytes, the most significant first (frame.h); numbers are packed as ">Q".
 *               name, size         the sender; or instead: error
 *               offset, checksum   the receiver: what it has; or: error
 *               offset             the sender, and as body the rest of the file
 *               checksum           the sender, of the whole file
 *               error              the receiver; 0: it is stored
 *           What is refused leaves the stream in order: another transfer, or anything else, may follow. After any other
 *           error it is of no more use. No more is read from it than belongs to the transfer; nor may anything have
 *           been read ahead by others: a thrum_frames_t that receives from the descriptor may have.
 * Waiting   As io.h says. Files are read and written by whoever calls; in coroutines, syncing and the checksum of a part
 *           that is there are done by thrum_blocking.
 * Copying   A socket that does not block (O_NONBLOCK), or a server's connection, is sent the file without copying
 *           it. It is read once, for its checksum.
 * Context   Any strand; the stream is used by one at a time in each direction. The functions keep nothing.
 */

/** What a transfer is at; for a program's progress bar, and what it came to. */
typedef struct thrum_transfer_info {
    char name[256];    /**< the sender's, or of what is stored */
    uint64_t size;     /**< of the file */
    uint64_t from;     /**< what the receiver had already */
    uint64_t done;     /**< how much of the file it has been sent, or has, by now */
    uint64_t checksum; /**< of the file, when it is through */
    bool refused;      /**< the error comes from the peer, by word */
} thrum_transfer_info_t;

/** How a file is to be sent or received. Start from THRUM_TRANSFER_CONFIG_INIT; texts are the caller's. */
typedef struct thrum_transfer_config {
    size_t config_size; /**< set by THRUM_TRANSFER_CONFIG_INIT */
    const char *
        name; /**< sender: what the file is called; NULL: the last part of its path. Receiver: what it
                           is stored as; NULL: the sender says */
    uint64_t max_size; /**< receiver: bytes of a file; 0: 4 GiB; UINT64_MAX: no limit */
    bool replace;      /**< receiver: also if there is a file of that name; else: EEXIST */
    unsigned mode;     /**< receiver: its permissions, less the umask; 0: 0666 */
    int64_t
        idle_timeout; /**< ns for which the peer may let wait, and a second for each 4 MiB of a file that it
                             has to read or to sync before it answers; 0: 30 s; THRUM_NO_LIMIT. A connection
                             of a server: its limits of reading and writing instead */
    thrum_time_t deadline; /**< of the whole transfer; 0: none */

    /** Called before the first byte is sent, or asked for, and again and again until all is done. Not 0: the
     *  transfer ends with that error. May be NULL */
    int (*progress)(void *ctx, const thrum_transfer_info_t *info);
    void *ctx; /**< for progress */
} thrum_transfer_config_t;

/** The defaults. */
#define THRUM_TRANSFER_CONFIG_INIT                                                                 \
    {                                                                                              \
        sizeof(thrum_transfer_config_t), NULL, 0, false, 0, 0, 0, NULL, NULL                       \
    }

/** Sends a file, and waits until the peer has stored it. A file that cannot be opened is refused, as by
 *  thrum_transfer_refuse. `*info` (may be NULL) says in every case how far it came.
 *  @return 0; an error of the peer (`refused`): EEXIST, EMSGSIZE, EBUSY, EINVAL, ENOSPC, EACCES ..., EIO; EBADMSG:
 *  it has got something else; ENODATA: the file has become shorter, or the peer has closed before it said anything;
 *  ENOENT, EACCES, EISDIR (no regular file) ...; EPIPE, ECONNRESET; ETIMEDOUT; ECANCELED; ENOMEM; EINVAL. */
THRUM_API int thrum_transfer_send(int fd, const char *path, const thrum_transfer_config_t *config,
                                  thrum_transfer_info_t *info);

/** Receives a file into a folder.
 *  @return 0: it is there, as `info->name`; ENODATA: the stream has ended before a file was offered; EBADMSG: within,
 *  or what came is no transfer, or not what was sent (then the part is gone); EEXIST, EMSGSIZE, EBUSY, EINVAL: as said
 *  above, and to the peer; an error of the peer (`refused`); ENOSPC and others of the system; ETIMEDOUT; ECANCELED;
 *  ENOMEM. */
THRUM_API int thrum_transfer_receive(int fd, const char *folder,
                                     const thrum_transfer_config_t *config,
                                     thrum_transfer_info_t *info);

/** Tells a peer that waits in a receive that there is no file for it: its receive returns `err`, which is not 0.
 *  @return 0, EINVAL, an error of writing. */
THRUM_API int thrum_transfer_refuse(int fd, int err, const thrum_transfer_config_t *config);

/** thrum_transfer_send over a connection, within its handler (server.h). The limit of a request's size does not count
 *  here. A stop of the server lets a transfer go on until its deadline. @return as that; ENOTSUP: a datagram. */
THRUM_API int thrum_conn_send_file(thrum_conn_t *c, const char *path,
                                   const thrum_transfer_config_t *config,
                                   thrum_transfer_info_t *info);

/** thrum_transfer_receive over a connection. @return as that; ENOTSUP: a datagram. */
THRUM_API int thrum_conn_receive_file(thrum_conn_t *c, const char *folder,
                                      const thrum_transfer_config_t *config,
                                      thrum_transfer_info_t *info);

/** thrum_transfer_refuse over a connection. @return as that; ENOTSUP: a datagram. */
THRUM_API int thrum_conn_refuse_file(thrum_conn_t *c, int err);

THRUM_END_DECLS
#endif /* THRUM_TRANSFER_H */
