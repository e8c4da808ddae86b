#include <sys/file.h>

#include "net/transfers.h"
#include "support/child.h"

TestSuite(transfer, .timeout = 60);

static void expect_sent(const struct place *p, size_t size, bool nonblocking)
{
    struct receiver r = {.fd = -1};
    thrum_transfer_info_t info;
    int fd[2];
    write_file(p->path, size);
    pair_of(fd, nonblocking);
    receiver_start(&r, fd[1], p->to);
    cr_expect(thrum_transfer_send(fd[0], p->path, NULL, &info) == 0);
    cr_expect(receiver_join(&r) == 0);
    cr_expect(is_whole(p->to, "file", size) && size_in(p->to, "file.part") == -1);
    cr_expect(info.size == size && info.done == size && info.from == 0 && !info.refused);
    cr_expect(r.info.checksum == info.checksum && r.info.done == size);
    cr_expect_str_eq(r.info.name, "file");
    cr_expect(unlink(path_in(p->to, "file")) == 0);
    close_pair(fd);
}

Test(transfer, whole_files)
{
    static const size_t sizes[] = {0, 1, 131071, 131072, 131073, 3000000};
    struct place p;
    place_make(&p);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        expect_sent(&p, sizes[i], false);
        expect_sent(&p, sizes[i], true);
    }
    place_remove(&p);
}

/* The offer, as others have to understand it; and one that they make. */
Test(transfer, on_the_wire)
{
    static const char offer[] = "\0\0\0\0\0\0\0\42"
                                "\0\4\0\0\0\4name\0file"
                                "\0\4\0\0\0\10size\0\0\0\0\0\0\0\0\3"
                                "\0\0\0\0\0\0\0";
    struct place p;
    unsigned char got[128];
    int fd[2];
    place_make(&p);
    write_file(p.path, 3);
    pair_of(fd, false);
    cr_assert(shutdown(fd[1], SHUT_WR) == 0);
    cr_expect(thrum_transfer_send(fd[0], p.path, NULL, NULL) == EBADMSG); /* no answer */
    cr_expect(read(fd[1], got, sizeof got) == (ssize_t)sizeof offer);
    cr_expect(memcmp(got, offer, sizeof offer) == 0);
    close_pair(fd);
    place_remove(&p);
}

/* ------------------------------------------------------------------------------------------------
 * What is refused, and leaves the stream in order
 */

/* A sender that says what ours would not. The answer's error; 0: it is none. */
static int offer(int fd, const char *name, size_t name_size, uint64_t size)
{
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    thrum_frames_t *frames = NULL;
    thrum_frame_t answer;
    thrum_pair_t error;
    unsigned char packed[8];
    uint64_t code = 0;
    config.length_size = 8;
    config.pairs = true;
    cr_assert(thrum_pack(packed, 8, NULL, ">Q", size) == 0);
    const thrum_pair_t pairs[] = {{"name", name, name_size}, {"size", packed, 8}};
    cr_assert(thrum_frame_sendv(fd, &config, pairs, 2, NULL, 0, THRUM_FOREVER) == 0);
    cr_assert(thrum_frames_create(&frames, &config) == 0);
    cr_assert(thrum_frames_receive(frames, fd, &answer, thrum_after(THRUM_S(30))) == 0);
    if (thrum_frame_find(&answer, "error", &error) == 0)
        cr_assert(thrum_unpack(error.value, error.size, NULL, ">Q", &code) == 0);
    thrum_frames_destroy(frames);
    return (int)code;
}

static bool is_empty(const char *folder)
{
    return rmdir(folder) == 0 && mkdir(folder, 0700) == 0;
}

Test(transfer, names_that_would_leave_the_folder)
{
    static char long_name[251];
    const struct {
        const char *name;
        size_t size;
    } cases[] = {{"", 0},          {".", 1},     {"..", 2},       {"../x", 4},
                 {"/etc/x", 6},    {"a/b", 3},   {"x\0y", 3},     {"x.part", 6},
                 {long_name, 251}, {".part", 5}, {"a/../../x", 9}};
    struct place p;
    int fd[2];
    place_make(&p);
    pair_of(fd, false);
    memset(long_name, 'n', sizeof long_name);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct receiver r = {.fd = -1};
        receiver_start(&r, fd[1], p.to);
        cr_expect(offer(fd[0], cases[i].name, cases[i].size, 5) == 2, "case %zu", i); /* EINVAL */
        cr_expect(thrum_thread_join(r.thread, NULL) == EINVAL && !r.info.refused);
        thrum_thread_release(r.thread);
        close_pair(fd);
        pair_of(fd, false);
    }
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    config.name = "../x";
    write_file(p.path, 10);
    cr_expect(thrum_transfer_send(fd[0], p.path, &config, NULL) == EINVAL);
    cr_expect(is_empty(p.to));
    close_pair(fd);
    place_remove(&p);
}

static void expect_refused(const struct place *p, struct receiver *r, int err)
{
    thrum_transfer_info_t info;
    int fd[2];
    pair_of(fd, false);
    receiver_start(r, fd[1], p->to);
    cr_expect(thrum_transfer_send(fd[0], p->path, NULL, &info) == err && info.refused);
    cr_expect(receiver_join(r) == err && !r->info.refused);
    close_pair(fd);
}

Test(transfer, refused_by_the_receiver)
{
    struct place p;
    struct receiver r = {.fd = -1, .config = THRUM_TRANSFER_CONFIG_INIT};
    place_make(&p);
    write_file(p.path, 1000);
    r.config.max_size = 999;
    expect_refused(&p, &r, EMSGSIZE);
    cr_expect(is_empty(p.to));
    r.config.max_size = 1000;
    write_file(path_in(p.to, "file"), 5);
    expect_refused(&p, &r, EEXIST);
    cr_expect(is_whole(p.to, "file", 5) && size_in(p.to, "file.part") == -1);
    /* Somebody else is at it. */
    cr_assert(unlink(path_in(p.to, "file")) == 0);
    const int part = open(path_in(p.to, "file.part"), O_RDWR | O_CREAT, 0600);
    cr_assert(part >= 0 && flock(part, LOCK_EX) == 0);
    expect_refused(&p, &r, EBUSY);
    cr_expect(size_in(p.to, "file.part") == 0);
    close(part);
    /* A part that is none. */
    cr_assert(unlink(path_in(p.to, "file.part")) == 0);
    cr_assert(symlink("../from/file", path_in(p.to, "file.part")) == 0);
    int fd[2];
    pair_of(fd, false);
    receiver_start(&r, fd[1], p.to);
    cr_expect(thrum_transfer_send(fd[0], p.path, NULL, NULL) == EIO);
    cr_expect(receiver_join(&r) == ELOOP && is_whole(p.from, "file", 1000));
    close_pair(fd);
    place_remove(&p);
}

static int say_no(void *ctx, const thrum_transfer_info_t *info)
{
    (void)ctx;
    return info->size == 1000 ? EPERM : 0;
}

/* One stream: no such file, refused by word, by a progress function of either side, and then one that is sent. */
Test(transfer, one_after_the_other)
{
    struct place p;
    struct receiver r = {.fd = -1, .config = THRUM_TRANSFER_CONFIG_INIT};
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    int fd[2];
    place_make(&p);
    pair_of(fd, false);
    write_file(p.path, 1000);
    receiver_start(&r, fd[1], p.to);
    cr_expect(thrum_transfer_send(fd[0], "/no/such/file", NULL, NULL) == ENOENT);
    cr_expect(receiver_join(&r) == ENOENT && r.info.refused);
    receiver_start(&r, fd[1], p.to);
    cr_expect(thrum_transfer_send(fd[0], "/tmp", NULL, NULL) == EISDIR);
    cr_expect(receiver_join(&r) == EISDIR && r.info.refused);
    receiver_start(&r, fd[1], p.to);
    cr_expect(thrum_transfer_refuse(fd[0], EACCES, NULL) == 0);
    cr_expect(receiver_join(&r) == EACCES && r.info.refused);
    receiver_start(&r, fd[1], p.to);
    config.progress = say_no;
    cr_expect(thrum_transfer_send(fd[0], p.path, &config, NULL) == EPERM);
    cr_expect(receiver_join(&r) == EPERM && r.info.refused && is_empty(p.to));
    r.config.progress = say_no;
    r.config.name = "mine";
    receiver_start(&r, fd[1], p.to);
    config = (thrum_transfer_config_t)THRUM_TRANSFER_CONFIG_INIT;
    config.name = "other";
    thrum_transfer_info_t info;
    cr_expect(thrum_transfer_send(fd[0], p.path, &config, &info) == EPERM && info.refused);
    cr_expect_str_eq(info.name, "other");
    cr_expect(thrum_thread_join(r.thread, NULL) == EPERM && is_empty(p.to));
    thrum_thread_release(r.thread);
    close_pair(fd);
    place_remove(&p);
}

Test(transfer, what_makes_no_sense)
{
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    cr_expect(thrum_transfer_send(0, NULL, NULL, NULL) == EINVAL);
    cr_expect(thrum_transfer_receive(0, NULL, NULL, NULL) == EINVAL);
    cr_expect(thrum_transfer_refuse(0, 0, NULL) == EINVAL);
    cr_expect(thrum_conn_send_file(NULL, "x", NULL, NULL) == EINVAL);
    cr_expect(thrum_conn_receive_file(NULL, "x", NULL, NULL) == EINVAL);
    cr_expect(thrum_conn_refuse_file(NULL, EPERM) == EINVAL);
    config.idle_timeout = -2;
    cr_expect(thrum_transfer_send(0, "x", &config, NULL) == EINVAL);
    config = (thrum_transfer_config_t)THRUM_TRANSFER_CONFIG_INIT;
    config.config_size--;
    cr_expect(thrum_transfer_send(0, "x", &config, NULL) == EINVAL);
}

/* ------------------------------------------------------------------------------------------------
 * What breaks off
 */

static int stop_midway(void *ctx, const thrum_transfer_info_t *info)
{
    (void)ctx;
    return info->done >= MEGABYTE ? ECANCELED : 0;
}

static void break_off(const struct place *p, bool sender)
{
    struct receiver r = {.fd = -1, .config = THRUM_TRANSFER_CONFIG_INIT};
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    int fd[2];
    pair_of(fd, true);
    if (sender)
        config.progress = stop_midway;
    else
        r.config.progress = stop_midway;
    receiver_start(&r, fd[1], p->to);
    const int err = thrum_transfer_send(fd[0], p->path, &config, NULL);
    cr_expect(sender ? err == ECANCELED : err == EPIPE || err == ECONNRESET, "%d", err);
    close(fd[0]);
    cr_expect(receiver_join(&r) == (sender ? EBADMSG : ECANCELED));
    close(fd[1]);
    cr_expect(size_in(p->to, "file.part") >= (long)MEGABYTE && size_in(p->to, "file") == -1);
}

static void expect_resumed(const struct place *p, size_t size, bool from_there)
{
    struct receiver r = {.fd = -1};
    thrum_transfer_info_t info;
    int fd[2];
    const long there = size_in(p->to, "file.part");
    pair_of(fd, true);
    receiver_start(&r, fd[1], p->to);
    cr_expect(thrum_transfer_send(fd[0], p->path, NULL, &info) == 0);
    cr_expect(receiver_join(&r) == 0);
    cr_expect(info.from == (from_there ? (uint64_t)there : 0) && r.info.from == info.from);
    cr_expect(is_whole(p->to, "file", size) && size_in(p->to, "file.part") == -1);
    cr_expect(unlink(path_in(p->to, "file")) == 0);
    close_pair(fd);
}

Test(transfer, taken_up_again)
{
    const size_t size = 3 * MEGABYTE + 17;
    struct place p;
    place_make(&p);
    write_file(p.path, size);
    break_off(&p, true);
    expect_resumed(&p, size, true);
    break_off(&p, false);
    expect_resumed(&p, size, true);
    place_remove(&p);
}

/* The part is of another file, longer than the file, or all of it. */
Test(transfer, parts_of_other_files)
{
    struct place p;
    place_make(&p);
    write_file(p.path, 500);
    FILE *f = fopen(path_in(p.to, "file.part"), "w");
    cr_assert(f != NULL && fputs("something else", f) >= 0 && fclose(f) == 0);
    expect_resumed(&p, 500, false);
    write_file(path_in(p.to, "file.part"), 501);
    expect_resumed(&p, 500, false);
    write_file(path_in(p.to, "file.part"), 500);
    expect_resumed(&p, 500, true);
    /* One that is a file of another name as well is left alone. */
    write_file(path_in(p.to, "other"), 300);
    char other[256];
    snprintf(other, sizeof other, "%s/other", p.to);
    cr_assert(link(other, path_in(p.to, "file.part")) == 0);
    expect_resumed(&p, 500, false);
    cr_expect(is_whole(p.to, "other", 300));
    place_remove(&p);
}

static int die_midway(void *ctx, const thrum_transfer_info_t *info)
{
    (void)ctx;
    if (info->done >= MEGABYTE)
        kill(getpid(), SIGKILL);
    return 0;
}

struct dying {
    int fd[2];
    const char *folder;
};

static int receive_and_die(void *arg)
{
    struct dying *d = arg;
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    config.progress = die_midway;
    close(d->fd[0]);
    return thrum_transfer_receive(d->fd[1], d->folder, &config, NULL) & 0x7f;
}

static int send_only(void *arg, void **result)
{
    (void)result;
    const struct place *p = ((void **)arg)[1];
    return thrum_transfer_send(*(int *)((void **)arg)[0], p->path, NULL, NULL);
}

Test(transfer, killed_midway)
{
    const size_t size = 3 * MEGABYTE;
    struct place p;
    struct dying d;
    thrum_thread_t *sender = NULL;
    place_make(&p);
    write_file(p.path, size);
    pair_of(d.fd, true);
    d.folder = p.to;
    int own = dup(d.fd[0]);
    void *args[] = {&own, &p};
    cr_assert(thrum_thread_spawn(&sender, send_only, args, NULL) == 0);
    cr_expect(child_run(receive_and_die, &d) == 128 + SIGKILL);
    close_pair(d.fd);
    const int err = thrum_thread_join(sender, NULL);
    cr_expect(err == EPIPE || err == ECONNRESET, "%d", err);
    thrum_thread_release(sender);
    close(own);
    cr_expect(size_in(p.to, "file.part") >= (long)MEGABYTE);
    expect_resumed(&p, size, true);
    place_remove(&p);
}

/* Bytes that changed on their way. */
Test(transfer, damaged)
{
    static const char rest[] = "\0\0\0\0\0\0\0\25" /* offset 0 and a body of 3 */
                               "\0\6\0\0\0\10offset\0\0\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\3xyz"
                               "\0\0\0\0\0\0\0\27" /* the checksum of another */
                               "\0\10\0\0\0\10checksum\0\1\2\3\4\5\6\7\10"
                               "\0\0\0\0\0\0\0";
    struct place p;
    struct receiver r = {.fd = -1};
    int fd[2];
    place_make(&p);
    pair_of(fd, false);
    receiver_start(&r, fd[1], p.to);
    cr_expect(offer(fd[0], "file", 4, 3) == 0);
    cr_expect(write(fd[0], rest, sizeof rest) == (ssize_t)sizeof rest);
    cr_expect(receiver_join(&r) == EBADMSG && r.info.done == 3 && is_empty(p.to));
    close_pair(fd);
    place_remove(&p);
}

/* What comes is no transfer, or ends at any place. */
Test(transfer, nonsense)
{
    static const char no_transfer[] = "GET / HTTP/1.1\r\nHost: example\r\n\r\n";
    struct place p;
    place_make(&p);
    for (size_t size = 0; size < sizeof no_transfer; size++) {
        int fd[2];
        pair_of(fd, false);
        cr_assert(write(fd[0], no_transfer, size) == (ssize_t)size);
        shutdown(fd[0], SHUT_WR);
        cr_expect(thrum_transfer_receive(fd[1], p.to, NULL, NULL) ==
                  (size == 0 ? ENODATA : EBADMSG));
        close_pair(fd);
    }
    cr_expect(is_empty(p.to));
    place_remove(&p);
}

Test(transfer, deadlines)
{
    struct place p;
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    int fd[2];
    place_make(&p);
    write_file(p.path, 10);
    pair_of(fd, false);
    config.deadline = thrum_after(THRUM_MS(5));
    cr_expect(thrum_transfer_receive(fd[1], p.to, &config, NULL) == ETIMEDOUT);
    cr_expect(thrum_transfer_send(fd[0], p.path, &config, NULL) == ETIMEDOUT);
    config.deadline = 0;
    config.idle_timeout = THRUM_MS(5);
    cr_expect(thrum_transfer_send(fd[0], p.path, &config, NULL) == ETIMEDOUT);
    close_pair(fd);
    place_remove(&p);
}

static int send_in_coroutine(void *arg, void **result)
{
    return send_only(arg, result);
}

static int both_in_coroutines(void *arg, void **result)
{
    struct place *p = arg;
    int fd[2];
    thrum_coro_t *sender = NULL;
    (void)result;
    pair_of(fd, true);
    void *args[] = {&fd[0], p};
    cr_assert(thrum_go(&sender, send_in_coroutine, args) == 0);
    cr_expect(thrum_transfer_receive(fd[1], p->to, NULL, NULL) == 0);
    cr_expect(thrum_coro_join(sender, NULL) == 0);
    thrum_coro_release(sender);
    close_pair(fd);
    return 0;
}

Test(transfer, on_one_loop)
{
    struct place p;
    place_make(&p);
    write_file(p.path, MEGABYTE);
    cr_expect(thrum_run(both_in_coroutines, &p, NULL) == 0);
    cr_expect(is_whole(p.to, "file", MEGABYTE));
    place_remove(&p);
}

/* ------------------------------------------------------------------------------------------------
 * In the handler of a server
 */

/* Stores what is sent, and sends it back. */
static int there_and_back(thrum_conn_t *c, void *ctx)
{
    const struct place *p = ctx;
    thrum_transfer_info_t info;
    const int err = thrum_conn_receive_file(c, p->to, NULL, &info);
    if (err != 0)
        return err;
    const int sent = thrum_conn_send_file(c, path_in(p->to, info.name), NULL, NULL);
    return sent != 0 ? sent : thrum_conn_refuse_file(c, ENOENT);
}

static void expect_served(const struct place *p, thrum_server_model_t model)
{
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    thrum_transfer_config_t as = THRUM_TRANSFER_CONFIG_INIT;
    thrum_transfer_info_t info;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    config.address = "127.0.0.1:0";
    config.model = model;
    config.handler = there_and_back;
    config.ctx = (void *)(uintptr_t)p;
    config.max_request = 1000; /* of which a file is none */
    cr_assert(thrum_server_create(&server, &config) == 0 && thrum_server_start(server) == 0);
    name.sin_port = htons((uint16_t)thrum_server_port(server));
    cr_assert(thrum_io_connect(fd, (struct sockaddr *)&name, sizeof name, THRUM_FOREVER) == 0);
    cr_expect(thrum_transfer_send(fd, p->path, NULL, NULL) == 0);
    as.name = "back";
    as.replace = true;
    cr_expect(thrum_transfer_receive(fd, p->to, &as, NULL) == 0);
    cr_expect(thrum_transfer_receive(fd, p->to, &as, &info) == ENOENT && info.refused);
    close(fd);
    cr_expect(thrum_server_stop(server, thrum_after(THRUM_S(20))) == 0);
    thrum_server_destroy(server);
    cr_expect(is_whole(p->to, "back", 2 * MEGABYTE + 3));
    cr_expect(unlink(path_in(p->to, "file")) == 0);
}

Test(transfer, over_connections)
{
    static const thrum_server_model_t models[] = {THRUM_SERVE_COROUTINES, THRUM_SERVE_POOL,
                                                  THRUM_SERVE_PROCESSES};
    struct place p;
    place_make(&p);
    write_file(p.path, 2 * MEGABYTE + 3);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        expect_served(&p, models[i]);
    place_remove(&p);
}

/* ------------------------------------------------------------------------------------------------
 * A stop in the middle
 */

static int take_one(thrum_conn_t *c, void *ctx)
{
    return thrum_conn_receive_file(c, ctx, NULL, NULL);
}

struct stopping {
    thrum_server_t *server;
    struct sockaddr_in name;
    thrum_thread_t *stopper;
};

static int stop_server(void *arg, void **result)
{
    (void)result;
    return thrum_server_stop(arg, thrum_after(THRUM_S(40)));
}

/* When half is there somebody stops the server; the rest is sent when nobody listens any more. */
static int stop_at_half(void *ctx, const thrum_transfer_info_t *info)
{
    struct stopping *s = ctx;
    bool listens = true;
    if (info->done < info->size / 2 || s->stopper != NULL)
        return 0;
    cr_assert(thrum_thread_spawn(&s->stopper, stop_server, s->server, NULL) == 0);
    while (listens) {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        listens = connect(fd, (struct sockaddr *)&s->name, sizeof s->name) == 0;
        close(fd);
    }
    return 0;
}

static void expect_finished(const struct place *p, thrum_server_model_t model)
{
    struct stopping s = {
        .name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    thrum_transfer_config_t as = THRUM_TRANSFER_CONFIG_INIT;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    config.address = "127.0.0.1:0";
    config.model = model;
    config.handler = take_one;
    config.ctx = (void *)(uintptr_t)p->to;
    cr_assert(thrum_server_create(&s.server, &config) == 0 && thrum_server_start(s.server) == 0);
    s.name.sin_port = htons((uint16_t)thrum_server_port(s.server));
    cr_assert(thrum_io_connect(fd, (struct sockaddr *)&s.name, sizeof s.name, THRUM_FOREVER) == 0);
    as.progress = stop_at_half;
    as.ctx = &s;
    cr_expect(thrum_transfer_send(fd, p->path, &as, NULL) == 0);
    cr_expect(thrum_thread_join(s.stopper, NULL) == 0);
    thrum_thread_release(s.stopper);
    thrum_server_destroy(s.server);
    close(fd);
    cr_expect(is_whole(p->to, "file", 2 * MEGABYTE + 3));
    cr_expect(unlink(path_in(p->to, "file")) == 0);
}

Test(transfer, goes_on_when_the_server_stops)
{
    struct place p;
    place_make(&p);
    write_file(p.path, 2 * MEGABYTE + 3);
    expect_finished(&p, THRUM_SERVE_COROUTINES);
    expect_finished(&p, THRUM_SERVE_POOL);
    place_remove(&p);
}
