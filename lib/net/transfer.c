/*
 * Files over a stream; the header says what goes to and fro.
 *
 *   sender     offer    -> wait for what the receiver has -> the rest, a chunk at a time -> checksum -> wait
 *   receiver   wait for an offer -> what there is of it   -> a chunk at a time to the part -> checksum -> keep -> say so
 *
 * Both have the checksum of all that has been sent: of what the receiver had as well, so that is read once more.
 */
#include <string.h>
#include <sys/uio.h>

#include <thrum/loop.h>

#include "net/server.h"
#include "net/sum.h"
#include "net/transfer.h"

#include "os/os.h"

#define CHUNK ((size_t)128 << 10)
#define DISK_RATE (UINT64_C(4) << 20) /* bytes a second, of a slow one */
#define SECONDS_MOST 86400u
#define PAIRS_MAX ((size_t)2048)
#define NAME_MAX_SIZE 250u
#define SUFFIX ".part"

static const thrum_frame_config_t frames = {.length_size = 8,
                                            .pairs = true,
                                            .max_size = UINT64_MAX,
                                            .max_pairs = PAIRS_MAX,
                                            .config_size = sizeof(thrum_frame_config_t)};

typedef struct transfer {
    thi_peer_t peer;
    thrum_transfer_config_t config; /* complete */
    thrum_transfer_info_t info;
    thi_sum_t sum;
    int file; /* that is sent, or the part */
    int folder;
    char part[256];
    unsigned char chunk[CHUNK];
} transfer_t;

/* ------------------------------------------------------------------------------------------------
 * The beginning and the end
 */

static bool complete(thrum_transfer_config_t *full, const thrum_transfer_config_t *config)
{
    *full = config != NULL ? *config : (thrum_transfer_config_t)THRUM_TRANSFER_CONFIG_INIT;
    if (full->config_size != sizeof *full || full->deadline < 0 ||
        full->idle_timeout < THRUM_NO_LIMIT || full->mode > 0777)
        return false;
    if (full->max_size == 0)
        full->max_size = UINT64_C(4) << 30;
    if (full->idle_timeout == 0)
        full->idle_timeout = THRUM_S(30);
    if (full->mode == 0)
        full->mode = 0666;
    return true;
}

static int begin(transfer_t **made, const thrum_transfer_config_t *config)
{
    thrum_transfer_config_t full;
    if (!complete(&full, config))
        return EINVAL;
    transfer_t *t = thi_alloc(sizeof *t);
    if (t == NULL)
        return ENOMEM;
    t->config = full;
    t->file = -1;
    t->folder = -1;
    thi_sum_begin(&t->sum);
    *made = t;
    return 0;
}

static int begin_on_fd(transfer_t **made, int fd, const thrum_transfer_config_t *config)
{
    const int err = begin(made, config);
    if (err == 0)
        thi_peer_of_fd(&(*made)->peer, fd, &(*made)->config);
    return err;
}

static int begin_on_conn(transfer_t **made, thrum_conn_t *c, const thrum_transfer_config_t *config)
{
    if (c == NULL || c->datagram != NULL)
        return c == NULL ? EINVAL : ENOTSUP;
    const int err = begin(made, config);
    if (err == 0)
        thi_peer_of_conn(&(*made)->peer, c, &(*made)->config);
    return err;
}

static int end(transfer_t *t, thrum_transfer_info_t *info, int err)
{
    if (t->file >= 0)
        thi_fd_close(t->file);
    if (t->folder >= 0)
        thi_fd_close(t->folder);
    if (info != NULL)
        *info = t->info;
    thi_free(t, sizeof *t);
    return err;
}

static int progress(transfer_t *t)
{
    return t->config.progress != NULL ? t->config.progress(t->config.ctx, &t->info) : 0;
}

static bool is_name(const char *name, size_t size)
{
    const size_t suffix = strlen(SUFFIX);
    return size != 0 && size <= NAME_MAX_SIZE && memchr(name, '/', size) == NULL &&
           memchr(name, '\0', size) == NULL && !(size == 1 && name[0] == '.') &&
           !(size == 2 && memcmp(name, "..", 2) == 0) &&
           !(size >= suffix && memcmp(name + size - suffix, SUFFIX, suffix) == 0);
}

static bool set_name(transfer_t *t, const char *name, size_t size)
{
    if (!is_name(name, size))
        return false;
    memcpy(t->info.name, name, size);
    t->info.name[size] = '\0';
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * Errors, as the stream has them: they have other numbers elsewhere
 */

static const int errors[] = {0,      EIO,    EINVAL,  EEXIST,    EMSGSIZE,  EBUSY, EBADMSG,
                             ENOSPC, EACCES, ENOENT,  ECANCELED, ETIMEDOUT, EPERM, EROFS,
                             EDQUOT, EISDIR, ENOTDIR, ENOMEM,    EMFILE,    EFBIG, ESHUTDOWN};
#define ERRORS (sizeof errors / sizeof *errors)

static uint64_t code_of(int err)
{
    for (size_t i = 0; i < ERRORS; i++) {
        if (errors[i] == err)
            return i;
    }
    return 1;
}

static int error_of(uint64_t code)
{
    return code < ERRORS ? errors[code] : EIO;
}

/* ------------------------------------------------------------------------------------------------
 * Messages
 */

static int write_some(void *arg, const struct iovec *pieces, int count, size_t *n)
{
    thi_peer_t *peer = arg;
    return peer->write(peer, pieces, count, n);
}

typedef struct number {
    const char *key;
    uint64_t value;
} number_t;

/* A name, if there is one, numbers, and then a body of `size` bytes is to follow. */
static int say(transfer_t *t, const char *name, const number_t *numbers, size_t n, uint64_t size)
{
    const thi_sink_t sink = {write_some, &t->peer};
    unsigned char packed[2][8];
    thrum_pair_t pairs[3];
    size_t n_pairs = 0;
    if (name != NULL)
        pairs[n_pairs++] = (thrum_pair_t){"name", name, strlen(name)};
    for (size_t i = 0; i < n; i++) {
        (void)thrum_pack(packed[i], 8, NULL, ">Q", numbers[i].value);
        pairs[n_pairs++] = (thrum_pair_t){numbers[i].key, packed[i], 8};
    }
    return thi_frame_put_front(&sink, &frames, pairs, n_pairs, size);
}

static int say_error(transfer_t *t, int err)
{
    const number_t error = {"error", code_of(err)};
    return say(t, NULL, &error, 1, 0);
}

typedef struct message {
    thrum_frame_t frame;
    uint64_t body;
    unsigned char pairs[PAIRS_MAX];
} message_t;

static int hear_length(transfer_t *t, uint64_t *length)
{
    unsigned char packed[8];
    const int err = thi_peer_read_full(&t->peer, packed, sizeof packed);
    return err != 0 ? err : thrum_unpack(packed, sizeof packed, NULL, ">Q", length);
}

/* Up to the body. */
static int hear(transfer_t *t, message_t *m)
{
    uint64_t size = 0;
    int err = hear_length(t, &size);
    if (err == 0 && size > PAIRS_MAX)
        err = EBADMSG;
    if (err == 0)
        err = thi_peer_read_full(&t->peer, m->pairs, (size_t)size);
    if (err == 0)
        err = hear_length(t, &m->body);
    m->frame = (thrum_frame_t){.pairs = m->pairs, .pairs_size = (size_t)size};
    return err;
}

static bool number_in(const message_t *m, const char *key, uint64_t *value)
{
    thrum_pair_t pair;
    return thrum_frame_find(&m->frame, key, &pair) == 0 && pair.size == 8 &&
           thrum_unpack(pair.value, 8, NULL, ">Q", value) == 0;
}

/* The error that it tells; 0: it tells none. */
static int error_in(transfer_t *t, const message_t *m)
{
    uint64_t code = 0;
    if (!number_in(m, "error", &code) || code == 0)
        return 0;
    t->info.refused = true;
    return error_of(code);
}

/* What the other side has to do with so many bytes of a file before it answers takes its time. */
static int hear_after(transfer_t *t, message_t *m, uint64_t bytes)
{
    const uint64_t seconds = bytes / DISK_RATE;
    t->peer.allowance = THRUM_S(1) * (int64_t)(seconds < SECONDS_MOST ? seconds : SECONDS_MOST);
    const int err = hear(t, m);
    t->peer.allowance = 0;
    return err;
}

/* One without a body, that is no error. */
static int hear_word(transfer_t *t, message_t *m, uint64_t bytes)
{
    int err = hear_after(t, m, bytes);
    if (err == 0 && m->body != 0)
        err = EBADMSG;
    return err != 0 ? err : error_in(t, m);
}

/* ------------------------------------------------------------------------------------------------
 * The checksum of a beginning, without holding up a loop
 */

static int sum_beginning(void *arg, void **result)
{
    transfer_t *t = arg;
    (void)result;
    for (uint64_t at = 0; at < t->info.from;) {
        const uint64_t left = t->info.from - at;
        const ssize_t n =
            thi_file_read(t->file, t->chunk, left < CHUNK ? (size_t)left : CHUNK, (int64_t)at);
        if (n <= 0)
            return n == 0 ? ENODATA : (int)-n;
        thi_sum_add(&t->sum, t->chunk, (size_t)n);
        at += (uint64_t)n;
    }
    return 0;
}

static int sum_what_is_there(transfer_t *t)
{
    return t->info.from != 0 ? thrum_blocking(sum_beginning, t, NULL) : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Sending
 */

static int send_chunk(transfer_t *t)
{
    const uint64_t left = t->info.size - t->info.done;
    const int64_t at = (int64_t)t->info.done;
    const ssize_t n = thi_file_read(t->file, t->chunk, left < CHUNK ? (size_t)left : CHUNK, at);
    if (n <= 0)
        return n == 0 ? ENODATA : (int)-n;
    thi_sum_add(&t->sum, t->chunk, (size_t)n);
    const int err = t->peer.send(&t->peer, t->file, at, t->chunk, (size_t)n);
    if (err == 0)
        t->info.done += (uint64_t)n;
    return err;
}

static int send_body(transfer_t *t)
{
    const number_t offset = {"offset", t->info.from};
    int err = progress(t);
    if (err != 0) {
        (void)say_error(t, err);
        return err;
    }
    err = say(t, NULL, &offset, 1, t->info.size - t->info.from);
    while (err == 0 && t->info.done < t->info.size) {
        err = thi_peer_check(&t->peer);
        if (err == 0)
            err = send_chunk(t);
        if (err == 0)
            err = progress(t);
    }
    return err;
}

/* How much the receiver has of this very file. */
static int agree(transfer_t *t)
{
    message_t m;
    uint64_t checksum = 0;
    int err = hear_word(t, &m, t->info.size);
    if (err != 0)
        return err;
    if (!number_in(&m, "offset", &t->info.from) || !number_in(&m, "checksum", &checksum) ||
        t->info.from > t->info.size)
        return EBADMSG;
    err = sum_what_is_there(t);
    if (err == 0 && thi_sum_value(&t->sum) != checksum) {
        t->info.from = 0;
        thi_sum_begin(&t->sum);
    }
    t->info.done = t->info.from;
    return err;
}

static int send_it(transfer_t *t)
{
    message_t m;
    const number_t size = {"size", t->info.size};
    int err = say(t, t->info.name, &size, 1, 0);
    t->peer.begun = true;
    if (err == 0)
        err = agree(t);
    if (err == 0)
        err = send_body(t);
    t->info.checksum = thi_sum_value(&t->sum);
    const number_t checksum = {"checksum", t->info.checksum};
    if (err == 0)
        err = say(t, NULL, &checksum, 1, 0);
    return err != 0 ? err : hear_word(t, &m, t->info.size);
}

static int send_file(transfer_t *t, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = t->config.name != NULL ? t->config.name : slash != NULL ? slash + 1 : path;
    int64_t size = 0;
    if (!set_name(t, name, strlen(name)))
        return EINVAL;
    const int err = thi_file_open(path, &t->file, &size);
    if (err != 0) {
        (void)say_error(t, err);
        return err;
    }
    t->info.size = (uint64_t)size;
    return send_it(t);
}

int thrum_transfer_send(int fd, const char *path, const thrum_transfer_config_t *config,
                        thrum_transfer_info_t *info)
{
    transfer_t *t = NULL;
    const int err = path != NULL ? begin_on_fd(&t, fd, config) : EINVAL;
    return err != 0 ? err : end(t, info, send_file(t, path));
}

int thrum_conn_send_file(thrum_conn_t *c, const char *path, const thrum_transfer_config_t *config,
                         thrum_transfer_info_t *info)
{
    transfer_t *t = NULL;
    int err = path != NULL ? begin_on_conn(&t, c, config) : EINVAL;
    if (err != 0)
        return err;
    err = end(t, info, send_file(t, path));
    thrum_conn_next(c);
    return err;
}

static int refuse(transfer_t *t, int err)
{
    return end(t, NULL, say_error(t, err));
}

int thrum_transfer_refuse(int fd, int err, const thrum_transfer_config_t *config)
{
    transfer_t *t = NULL;
    const int failed = err > 0 ? begin_on_fd(&t, fd, config) : EINVAL;
    return failed != 0 ? failed : refuse(t, err);
}

int thrum_conn_refuse_file(thrum_conn_t *c, int err)
{
    transfer_t *t = NULL;
    const int failed = err > 0 ? begin_on_conn(&t, c, NULL) : EINVAL;
    return failed != 0 ? failed : refuse(t, err);
}

/* ------------------------------------------------------------------------------------------------
 * Receiving: up to the body, what is wrong is told to the sender
 */

static int take_offer(transfer_t *t, const message_t *m)
{
    thrum_pair_t name;
    if (thrum_frame_find(&m->frame, "name", &name) != 0 || !number_in(m, "size", &t->info.size))
        return EBADMSG;
    if (t->config.name != NULL)
        name = (thrum_pair_t){"name", t->config.name, strlen(t->config.name)};
    if (!set_name(t, name.value, name.size))
        return EINVAL;
    return t->info.size > t->config.max_size || t->info.size > INT64_MAX ? EMSGSIZE : 0;
}

static int start_again(transfer_t *t)
{
    t->info.from = 0;
    thi_sum_begin(&t->sum);
    return thi_file_cut(t->file, 0);
}

static int open_part(transfer_t *t, const char *folder)
{
    int64_t there = 0;
    int err = thi_folder_open(folder, &t->folder);
    if (err == 0 && !t->config.replace && thi_file_exists(t->folder, t->info.name))
        err = EEXIST;
    memcpy(t->part, t->info.name, strlen(t->info.name));
    memcpy(t->part + strlen(t->info.name), SUFFIX, sizeof SUFFIX);
    if (err == 0)
        err = thi_part_open(t->folder, t->part, t->config.mode, &t->file, &there);
    if (err != 0)
        return err;
    t->info.from = (uint64_t)there;
    err = t->info.from > t->info.size ? start_again(t) : sum_what_is_there(t);
    t->info.done = t->info.from;
    return err != 0 ? err : progress(t);
}

static int ask_for_rest(transfer_t *t)
{
    message_t m;
    uint64_t from = 0;
    const number_t have[] = {{"offset", t->info.from}, {"checksum", thi_sum_value(&t->sum)}};
    int err = say(t, NULL, have, 2, 0);
    if (err == 0)
        err = hear_after(t, &m, t->info.from);
    if (err == 0)
        err = error_in(t, &m);
    if (err == 0 && (!number_in(&m, "offset", &from) || (from != 0 && from != t->info.from) ||
                     m.body != t->info.size - from))
        err = EBADMSG;
    if (err == 0 && from != t->info.from)
        err = start_again(t);
    t->info.done = t->info.from;
    return err;
}

static int receive_chunk(transfer_t *t)
{
    const uint64_t left = t->info.size - t->info.done;
    size_t n = 0;
    int err = t->peer.read(&t->peer, t->chunk, left < CHUNK ? (size_t)left : CHUNK, &n);
    if (err == 0 && n == 0)
        err = EBADMSG; /* the end */
    if (err == 0)
        err = thi_file_write(t->file, t->chunk, n, (int64_t)t->info.done);
    if (err != 0)
        return err;
    thi_sum_add(&t->sum, t->chunk, n);
    t->info.done += n;
    return 0;
}

static int receive_body(transfer_t *t)
{
    int err = 0;
    while (err == 0 && t->info.done < t->info.size) {
        err = thi_peer_check(&t->peer);
        if (err == 0)
            err = receive_chunk(t);
        if (err == 0)
            err = progress(t);
    }
    return err;
}

static int keep(void *arg, void **result)
{
    transfer_t *t = arg;
    (void)result;
    return thi_part_keep(t->folder, t->file, t->part, t->info.name, t->config.replace);
}

static int keep_if_sound(transfer_t *t)
{
    message_t m;
    uint64_t checksum = 0;
    int err = hear_word(t, &m, 0);
    if (err != 0)
        return err;
    t->info.checksum = thi_sum_value(&t->sum);
    if (!number_in(&m, "checksum", &checksum))
        return EBADMSG;
    if (checksum != t->info.checksum) {
        thi_part_drop(t->folder, t->part);
        err = EBADMSG;
    } else {
        err = thrum_blocking(keep, t, NULL);
    }
    const int unsaid = say_error(t, err);
    return err != 0 ? err : unsaid;
}

static int receive_file(transfer_t *t, const char *folder)
{
    message_t m;
    int err = hear_word(t, &m, 0);
    if (err != 0)
        return err;
    err = take_offer(t, &m);
    if (err == 0)
        err = open_part(t, folder);
    const bool opened = t->file >= 0;
    if (err != 0)
        (void)say_error(t, err);
    else
        err = ask_for_rest(t);
    if (err == 0)
        err = receive_body(t);
    if (err == 0)
        err = keep_if_sound(t);
    if (err != 0 && opened && t->info.done == 0 && t->info.from == 0)
        thi_part_drop(t->folder, t->part); /* nothing has come */
    return err;
}

int thrum_transfer_receive(int fd, const char *folder, const thrum_transfer_config_t *config,
                           thrum_transfer_info_t *info)
{
    transfer_t *t = NULL;
    const int err = folder != NULL ? begin_on_fd(&t, fd, config) : EINVAL;
    return err != 0 ? err : end(t, info, receive_file(t, folder));
}

int thrum_conn_receive_file(thrum_conn_t *c, const char *folder,
                            const thrum_transfer_config_t *config, thrum_transfer_info_t *info)
{
    transfer_t *t = NULL;
    int err = folder != NULL ? begin_on_conn(&t, c, config) : EINVAL;
    if (err != 0)
        return err;
    err = end(t, info, receive_file(t, folder));
    thrum_conn_next(c);
    return err;
}
