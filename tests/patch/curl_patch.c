/*
 * libcurl's blocking interface, which knows nothing of coroutines: a thousand fetches at the same time on one
 * thread, from a server that takes its time for each.
 */
#if TESTS_CURL
#include <arpa/inet.h>
#include <curl/curl.h>
#include <sys/socket.h>

#include "patch/client.h"

#define DESCRIPTORS 5 /* of a client: libcurl's and the server's */

static struct meter meter;
static int listener;
static char address[64];

/* ------------------------------------------------------------------------------------------------
 * The server: a loop on a thread of its own, a coroutine for each connection
 */

static int read_request(int fd, char *request, size_t size)
{
    size_t n = 0;
    request[0] = '\0';
    while (strstr(request, "\r\n\r\n") == NULL) {
        size_t some = 0;
        const int err = thrum_io_read(fd, request + n, size - 1 - n, &some, THRUM_FOREVER);
        if (err != 0 || some == 0)
            return err != 0 ? err : ENODATA;
        n += some;
        request[n] = '\0';
    }
    return 0;
}

static int serve(void *arg, void **result)
{
    const int fd = (int)(intptr_t)arg;
    char request[4096];
    (void)result;
    meter_enter(&meter);
    while (read_request(fd, request, sizeof request) == 0) {
        char path[64] = "";
        char body[128];
        char reply[256];
        must(thrum_sleep(THRUM_MS(DELAY_MS)), "sleep");
        (void)sscanf(request, "GET %63s", path);
        const int size = snprintf(body, sizeof body, "you asked for %s", path);
        const int n = snprintf(reply, sizeof reply,
                               "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body);
        if (thrum_io_write_full(fd, reply, (size_t)n, NULL, THRUM_FOREVER) != 0)
            break;
    }
    meter_leave(&meter);
    (void)thrum_io_close(fd);
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

static void listen_on_loopback(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    must(listener < 0 ? errno : 0, "socket");
    must(bind(listener, (struct sockaddr *)&at, sizeof at) != 0 ? errno : 0, "bind");
    must(listen(listener, CLIENTS) != 0 ? errno : 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&at, &size) != 0 ? errno : 0, "getsockname");
    snprintf(address, sizeof address, "http://127.0.0.1:%d", ntohs(at.sin_port));
}

/* ------------------------------------------------------------------------------------------------
 * A client: what a program without coroutines would do
 */

struct body {
    char text[128];
    size_t size;
};

static size_t keep(char *data, size_t one, size_t n, void *arg)
{
    struct body *body = arg;
    (void)one;
    if (n >= sizeof body->text - body->size)
        return 0;
    memcpy(body->text + body->size, data, n);
    body->size += n;
    return n;
}

static int fetch(void *arg, void **result)
{
    const struct client *client = arg;
    struct body body = {"", 0};
    char url[128];
    char expected[128];
    long status = 0;
    (void)result;
    snprintf(url, sizeof url, "%s/number/%u", address, client->number);
    snprintf(expected, sizeof expected, "you asked for /number/%u", client->number);

    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    const CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);

    const bool right = code == CURLE_OK && status == 200 && strcmp(body.text, expected) == 0;
    if (!right)
        printf("%s: %s, status %ld, '%s'\n", url, curl_easy_strerror(code), status, body.text);
    return right ? 0 : EIO;
}

int main(void)
{
    struct clients all = {.fn = fetch};
    struct server server = {NULL, NULL, NULL};
    const uint32_t places = clients_at_a_time(DESCRIPTORS);
    if (places == 0)
        return SKIPPED;
    all.places = (thrum_sem_t)THRUM_SEM_INIT(places);
    must(curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ? EIO : 0, "curl_global_init");
    listen_on_loopback();
    server_start(&server, take_connections);

    const thrum_time_t start = thrum_now();
    must(thrum_run(spawn_clients, &all, NULL), "run");
    const int status = judge("curl_easy_perform", &all, &meter, thrum_now() - start, CLIENTS);

    server_stop(&server);
    curl_global_cleanup();
    return status;
}
#else
int main(void)
{
    return 77; /* no libcurl */
}
#endif
