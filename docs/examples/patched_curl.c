/*
 * A library that blocks, in coroutines: twenty fetches with libcurl's easy interface wait at the same time, on one
 * thread, because the program links libthrum-patch. The server is in the same program: a coroutine, too, which
 * reads and writes with the system's own functions. Built where pkg-config finds libcurl.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define FETCHES 20

static int listener = -1;
static char url[64];
static int waiting; /* how many requests have come and were not answered yet */

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Answers when all of the requests are there: somebody who fetched one after the other would wait for ever. */
static int serve(void *arg, void **result)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const int fd = (int)(intptr_t)arg;
    char request[1024];
    (void)result;
    if (read(fd, request, sizeof request) > 0) {
        waiting++;
        while (waiting < FETCHES)
            usleep(1000);
        if (write(fd, reply, sizeof reply - 1) != (ssize_t)sizeof reply - 1)
            perror("write");
    }
    close(fd);
    return 0;
}

static int accept_all(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < FETCHES; i++) {
        const int fd = accept(listener, NULL, NULL);
        must(thrum_go(NULL, serve, (void *)(intptr_t)fd));
    }
    return 0;
}

static size_t count(char *data, size_t one, size_t n, void *arg)
{
    size_t *size = arg;
    (void)data, (void)one;
    *size += n;
    return n;
}

/* As in any program without coroutines. */
static int fetch(void *arg, void **result)
{
    size_t size = 0;
    CURL *curl = curl_easy_init();
    (void)result;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &size);
    if (curl_easy_perform(curl) == CURLE_OK && size == strlen("hello"))
        ++*(int *)arg;
    curl_easy_cleanup(curl);
    return 0;
}

static int start(void *arg, void **result)
{
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    (void)result;
    config.stack_size = (size_t)256 * 1024; /* libcurl is not used to small ones */
    must(thrum_go(NULL, accept_all, NULL));
    for (int i = 0; i < FETCHES; i++)
        must(thrum_go_with(NULL, fetch, arg, &config));
    return 0;
}

static void listen_somewhere(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(listener, FETCHES) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) != 0) {
        perror("listen");
        exit(EXIT_FAILURE);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
}

int main(void)
{
    int fetched = 0;
    listen_somewhere();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    must(thrum_run(start, &fetched, NULL));
    curl_global_cleanup();
    printf("fetched %d at the same time\n", fetched);
    return 0;
}
