#include "handlers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common.h"
#include "store.h"

#define BUFFER 4096

int serve_echo(thrum_conn_t *c, void *ctx)
{
    char data[1024];
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read(c, data, sizeof data, &n)) == 0 && n != 0)
        if ((err = thrum_conn_write(c, data, n)) != 0)
            break;
    return err;
}

/* ---- requests out of a buffer ---- */

/* Answers the request at the beginning of `size` bytes: how long it was; 0: more has to come; -1: it is none. */
typedef long (*answer_fn)(const char *data, size_t size, char *out, size_t *out_size);

/* What has been read, from the first request that is not answered on. */
struct input {
    size_t size;
    char data[BUFFER];
};

/* Answers what is complete, and writes the answers together, as many as there is room for at a time. */
static int answer_all(thrum_conn_t *c, struct input *in, answer_fn answer)
{
    char
        out[2 * BUFFER]; /* an answer is begun while half of it is free, and is shorter than that */
    long size = 1;
    while (size > 0 && in->size != 0) {
        size_t used = 0;
        size_t out_size = 0;
        int err = 0;
        while (used < in->size && out_size < BUFFER &&
               (size = answer(in->data + used, in->size - used, out, &out_size)) > 0)
            used += (size_t)size;
        in->size -= used;
        if (in->size != 0)
            memmove(in->data, in->data + used, in->size);
        if (out_size != 0 && (err = thrum_conn_write(c, out, out_size)) != 0)
            return err;
    }
    return size < 0 ? EINVAL : 0;
}

static int serve(thrum_conn_t *c, answer_fn answer)
{
    struct input in;
    in.size = 0;
    for (;;) {
        size_t n = 0;
        int err = in.size == BUFFER ? EMSGSIZE
                                    : thrum_conn_read(c, in.data + in.size, BUFFER - in.size, &n);
        if (err != 0 || n == 0)
            return err;
        in.size += n;
        if ((err = answer_all(c, &in, answer)) != 0)
            return err;
    }
}

static void put(char *out, size_t *out_size, const void *data, size_t size)
{
    memcpy(out + *out_size, data, size);
    *out_size += size;
}

#define PUT(out, out_size, literal) put(out, out_size, literal, sizeof(literal) - 1)

/* ---- HTTP ---- */

static long answer_http(const char *data, size_t size, char *out, size_t *out_size)
{
    static const char get[] = "GET / HTTP/1.1\r\n";
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (size >= sizeof get - 1 && memcmp(data, get, sizeof get - 1) == 0)
        PUT(out, out_size, HELLO);
    else
        PUT(out, out_size, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    return end + 4 - data;
}

int serve_http(thrum_conn_t *c, void *ctx)
{
    (void)ctx;
    return serve(c, answer_http);
}

/* ---- RESP: SET, GET and PING ---- */

#define ARGUMENTS 4

struct word {
    const char *data;
    size_t size;
};

/* `<mark><number>\r\n`: what stands behind it; NULL: incomplete, or (`*number` is -1) something else. */
static const char *take_number(const char *at, const char *end, char mark, long *number)
{
    const char *line = at == end ? NULL : memchr(at, '\n', (size_t)(end - at));
    *number = 0;
    if (line == NULL)
        return NULL;
    for (const char *digit = at + 1; digit < line - 1 && *digit >= '0' && *digit <= '9'; digit++)
        *number = *number * 10 + (*digit - '0');
    if (*at == mark && *number <= BUFFER)
        return line + 1;
    *number = -1;
    return NULL;
}

/* An array of words; how long it is, 0 or -1 as an answer_fn. */
static long take_command(const char *data, size_t size, struct word *words, size_t *n)
{
    const char *end = data + size;
    long number = 0;
    const char *at = take_number(data, end, '*', &number);
    if (at == NULL)
        return number;
    if (number < 1 || number > ARGUMENTS)
        return -1;
    *n = (size_t)number;
    for (size_t i = 0; i < *n; i++) {
        at = take_number(at, end, '$', &number);
        if (at == NULL)
            return number;
        if (end - at < number + 2)
            return 0;
        words[i] = (struct word){at, (size_t)number};
        at += number + 2;
    }
    return at - data;
}

static bool is(const struct word *word, const char *name, size_t size)
{
    return word->size == size && strncasecmp(word->data, name, size) == 0;
}

static void answer_get(const struct word *key, char *out, size_t *out_size)
{
    char value[STORE_VALUE];
    char head[8] = "$";
    size_t size = 0;
    if (!store_get(key->data, key->size, value, &size)) {
        PUT(out, out_size, "$-1\r\n");
        return;
    }
    size_t digits = 1;
    for (size_t unit = 100; unit != 0; unit /= 10)
        if (size >= unit || unit == 1)
            head[digits++] = (char)('0' + size / unit % 10);
    put(out, out_size, head, digits);
    PUT(out, out_size, "\r\n");
    put(out, out_size, value, size);
    PUT(out, out_size, "\r\n");
}

static long answer_resp(const char *data, size_t size, char *out, size_t *out_size)
{
    struct word words[ARGUMENTS];
    size_t n = 0;
    const long taken = take_command(data, size, words, &n);
    if (taken <= 0)
        return taken;
    if (n == 3 && is(&words[0], "SET", 3)) {
        if (store_set(words[1].data, words[1].size, words[2].data, words[2].size))
            PUT(out, out_size, "+OK\r\n");
        else
            PUT(out, out_size, "-ERR too large\r\n");
    } else if (n == 2 && is(&words[0], "GET", 3)) {
        answer_get(&words[1], out, out_size);
    } else if (n == 1 && is(&words[0], "PING", 4)) {
        PUT(out, out_size, "+PONG\r\n");
    } else {
        PUT(out, out_size, "-ERR unknown command\r\n");
    }
    return taken;
}

int serve_resp(thrum_conn_t *c, void *ctx)
{
    (void)ctx;
    return serve(c, answer_resp);
}
