/*
 * hiredis' blocking interface against a real redis-server of the test's own, on a Unix socket, through a proxy
 * that holds back each reply for a while: a thousand clients at the same time on one thread.
 */
#if defined(TESTS_REDIS_SERVER)
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "patch/client.h"

#define DESCRIPTORS 4 /* of a client: its own, and the proxy's two */
#define REPLIES 2     /* to each client */
#define PATIENCE THRUM_S(20)

static struct meter meter;
static char folder[] = "/tmp/thrum-redis-XXXXXX";
static char redis_path[64];
static char proxy_path[64];
static int listener;

/* ------------------------------------------------------------------------------------------------
 * redis-server
 */

static pid_t start_redis(void)
{
    must(mkdtemp(folder) == NULL ? errno : 0, "mkdtemp");
    snprintf(redis_path, sizeof redis_path, "%s/redis", folder);
    snprintf(proxy_path, sizeof proxy_path, "%s/proxy", folder);
    const pid_t pid = fork();
    must(pid < 0 ? errno : 0, "fork");
    if (pid != 0)
        return pid;
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    execl(TESTS_REDIS_SERVER, "redis-server", "--port", "0", "--unixsocket", redis_path, "--dir",
          folder, "--save", "", "--appendonly", "no", "--daemonize", "no", (char *)NULL);
    _exit(127);
}

static void stop_redis(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    unlink(redis_path);
    unlink(proxy_path);
    rmdir(folder);
}

static bool redis_answers(pid_t pid)
{
    const thrum_time_t deadline = thrum_after(PATIENCE);
    while (thrum_now() < deadline && waitpid(pid, NULL, WNOHANG) == 0) {
        redisContext *redis = redisConnectUnix(redis_path);
        const bool connected = redis != NULL && redis->err == 0;
        redisReply *reply = connected ? redisCommand(redis, "PING") : NULL;
        const bool answers = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        redisFree(redis);
        if (answers)
            return true;
        usleep(10000);
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * The proxy: a loop on a thread of its own, a coroutine for each connection
 */

static struct sockaddr_un path_address(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    return at;
}

/* Its backlog may be full for a moment. */
static int connect_to_redis(int *fd)
{
    const struct sockaddr_un at = path_address(redis_path);
    const thrum_time_t deadline = thrum_after(PATIENCE);
    int err = 0;
    do {
        *fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (*fd < 0)
            return errno;
        err = thrum_io_connect(*fd, (const struct sockaddr *)&at, sizeof at, deadline);
        if (err != 0) {
            (void)thrum_io_close(*fd);
            (void)thrum_sleep(THRUM_MS(1));
        }
    } while (err == ECONNREFUSED && thrum_now() < deadline);
    return err;
}

static int relay(int client, int redis)
{
    char data[1024];
    size_t n = 0;
    int err = thrum_io_read(client, data, sizeof data, &n, THRUM_FOREVER);
    if (err == 0 && n == 0)
        return ENODATA;
    if (err == 0)
        err = thrum_io_write_full(redis, data, n, NULL, THRUM_FOREVER);
    if (err == 0)
        err = thrum_io_read(redis, data, sizeof data, &n, THRUM_FOREVER);
    if (err == 0)
        err = thrum_sleep(THRUM_MS(DELAY_MS));
    return err == 0 ? thrum_io_write_full(client, data, n, NULL, THRUM_FOREVER) : err;
}

static int serve(void *arg, void **result)
{
    const int client = (int)(intptr_t)arg;
    int redis = -1;
    (void)result;
    meter_enter(&meter);
    int err = connect_to_redis(&redis);
    while (err == 0)
        err = relay(client, redis);
    meter_leave(&meter);
    (void)thrum_io_close(client);
    if (redis >= 0)
        (void)thrum_io_close(redis);
    return 0;
}

static int take_connections(void *arg, void **result)
{
    int fd = -1;
    (void)arg, (void)result;
    while (thrum_io_accept(listener, NULL, NULL, &fd, THRUM_FOREVER) == 0)
        must(thrum_go(NULL, serve, (void *)(intptr_t)fd), "go");
    return 0;
}

static void listen_at_proxy(void)
{
    const struct sockaddr_un at = path_address(proxy_path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    must(listener < 0 ? errno : 0, "socket");
    must(bind(listener, (const struct sockaddr *)&at, sizeof at) != 0 ? errno : 0, "bind");
    must(listen(listener, CLIENTS) != 0 ? errno : 0, "listen");
}

/* ------------------------------------------------------------------------------------------------
 * A client: what a program without coroutines would do
 */

/* hiredis gives up when the backlog is full. */
static redisContext *connect_patiently(void)
{
    const thrum_time_t deadline = thrum_after(PATIENCE);
    redisContext *redis = redisConnectUnix(proxy_path);
    while (redis != NULL && redis->err != 0 && thrum_now() < deadline) {
        redisFree(redis);
        usleep(1000);
        redis = redisConnectUnix(proxy_path);
    }
    return redis;
}

static int set_and_get(void *arg, void **result)
{
    const struct client *client = arg;
    char value[32];
    (void)result;
    snprintf(value, sizeof value, "value %u", client->number);
    redisContext *redis = connect_patiently();
    redisReply *set = redisCommand(redis, "SET key:%u %s", client->number, value);
    redisReply *got = redisCommand(redis, "GET key:%u", client->number);
    const bool right = set != NULL && set->type == REDIS_REPLY_STATUS && got != NULL &&
                       got->type == REDIS_REPLY_STRING && strcmp(got->str, value) == 0;
    if (!right)
        printf("client %u: %s\n", client->number, redis->errstr);
    freeReplyObject(set);
    freeReplyObject(got);
    redisFree(redis);
    return right ? 0 : EIO;
}

int main(void)
{
    struct clients all = {.fn = set_and_get};
    struct server proxy = {NULL, NULL, NULL};
    const uint32_t places = clients_at_a_time(DESCRIPTORS);
    if (places == 0)
        return SKIPPED;
    all.places = (thrum_sem_t)THRUM_SEM_INIT(places);
    const pid_t redis = start_redis();
    int status = 1;
    if (redis_answers(redis)) {
        listen_at_proxy();
        server_start(&proxy, take_connections);
        const thrum_time_t start = thrum_now();
        must(thrum_run(spawn_clients, &all, NULL), "run");
        status = judge("redisCommand", &all, &meter, thrum_now() - start, CLIENTS * REPLIES);
        server_stop(&proxy);
    } else {
        printf("redis-server does not answer\n");
    }
    stop_redis(redis);
    return status;
}
#else
int main(void)
{
    return 77; /* no hiredis, or no redis-server */
}
#endif
