#ifndef THI_TRANSFER_H
#define THI_TRANSFER_H

/*
 * What the files of transfers share: peer.c talks to the other side, transfer.c says what.
 */
#include <thrum/transfer.h>

#include "net/net.h"

struct iovec;

/* The other side: a descriptor, or a connection of a server. */
typedef struct thi_peer thi_peer_t;
struct thi_peer {
    int (*read)(thi_peer_t *peer, void *buf, size_t size, size_t *n);
    int (*write)(thi_peer_t *peer, const struct iovec *pieces, int count, size_t *n);
    int (*send)(thi_peer_t *peer, int file, int64_t offset, const void *data, size_t size);
    bool begun; /* the transfer has */
    thrum_conn_t *c;
    int fd;
    bool blocks; /* the descriptor does; or the system does not send files to it */
    thrum_time_t deadline;
    int64_t patience;
    int64_t allowance; /* more of it, for an answer that takes its time */
};

void thi_peer_of_fd(thi_peer_t *peer, int fd, const thrum_transfer_config_t *config);
void thi_peer_of_conn(thi_peer_t *peer, thrum_conn_t *c, const thrum_transfer_config_t *config);

/* Exactly `size` bytes. ENODATA: the end comes instead; EBADMSG: in between. */
int thi_peer_read_full(thi_peer_t *peer, void *buf, size_t size);

/* Between two chunks: lets others run. ECANCELED, ETIMEDOUT: it should not go on, though it need not wait. */
int thi_peer_check(const thi_peer_t *peer);

#endif /* THI_TRANSFER_H */
