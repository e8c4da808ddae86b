#include "protocol.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

static void begin(struct exchange *x, size_t request_size)
{
    x->round++;
    x->got_size = 0;
    x->request_size = (uint32_t)request_size;
}

static enum verdict judge_exactly(const struct exchange *x, const char *reply, size_t size)
{
    if (x->got_size > size || memcmp(x->got, reply, x->got_size) != 0)
        return REPLY_WRONG;
    return x->got_size == size ? REPLY_RIGHT : REPLY_INCOMPLETE;
}

/* ---- echo: 64 bytes, different in each connection and round ---- */

#define ECHO_SIZE 64

static void ask_echo(struct exchange *x)
{
    if (x->round == 0)
        for (size_t i = 0; i < ECHO_SIZE; i++)
            x->request[i] = (char)(x->id * 31 + i);
    begin(x, ECHO_SIZE);
    memcpy(x->request, &x->round, sizeof x->round);
    memcpy(x->request + ECHO_SIZE - sizeof x->id, &x->id, sizeof x->id);
}

static enum verdict judge_echo(struct exchange *x)
{
    return judge_exactly(x, x->request, ECHO_SIZE);
}

/* ---- HTTP: the hello page ---- */

static void ask_http(struct exchange *x)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if (x->round == 0)
        memcpy(x->request, get, sizeof get);
    begin(x, sizeof get - 1);
}

/* Behind the empty line; 0: it has not come yet. */
static size_t end_of_head(const struct exchange *x)
{
    const char *end = memmem(x->got, x->got_size, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - x->got) + 4;
}

static int has_length(const struct exchange *x, size_t head)
{
    static const char field[] = "\r\nContent-Length: ";
    const char *length = memmem(x->got, head, field, sizeof field - 1);
    return length != NULL && strtoul(length + sizeof field - 1, NULL, 10) == strlen(HELLO_BODY);
}

static enum verdict judge_http(struct exchange *x)
{
    static const char status[] = "HTTP/1.1 200 ";
    const size_t body = strlen(HELLO_BODY);
    size_t head = x->head_size;
    if (head == 0 || x->got_size < head || memcmp(x->got + head - 4, "\r\n\r\n", 4) != 0) {
        head = end_of_head(x);
        if (head == 0)
            return x->got_size == sizeof x->got ? REPLY_WRONG : REPLY_INCOMPLETE;
        if (!has_length(x, head))
            return REPLY_WRONG;
        x->head_size = (uint32_t)head;
    }
    if (x->got_size < head + body)
        return REPLY_INCOMPLETE;
    if (x->got_size > head + body || memcmp(x->got, status, sizeof status - 1) != 0 ||
        memcmp(x->got + head, HELLO_BODY, body) != 0)
        return REPLY_WRONG;
    return REPLY_RIGHT;
}

/* ---- RESP: by turns SET of a key of its own, and GET of what was set ---- */

#define SET_REQUEST "*3\r\n$3\r\nSET\r\n$12\r\nkey:--------\r\n$16\r\n----------------\r\n"
#define GET_REQUEST "*2\r\n$3\r\nGET\r\n$12\r\nkey:--------\r\n"
#define GET_REPLY "$16\r\n----------------\r\n"
#define KEY_AT 22   /* where the eight digits of the key are, in both requests */
#define VALUE_AT 37 /* and those of the value in a SET: the connection's, and the round's */
#define REPLY_AT 5  /* in the reply to a GET */

static void write_hex(char *at, uint32_t n)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[n >> shift & 15];
}

/* The first round is 0, a SET. */
static void ask_resp(struct exchange *x)
{
    const uint32_t round = x->round;
    if (round % 2 == 0) {
        memcpy(x->request, SET_REQUEST, sizeof SET_REQUEST);
        write_hex(x->request + VALUE_AT, x->id);
        write_hex(x->request + VALUE_AT + 8, round);
        begin(x, sizeof SET_REQUEST - 1);
    } else {
        memcpy(x->request, GET_REQUEST, sizeof GET_REQUEST);
        begin(x, sizeof GET_REQUEST - 1);
    }
    write_hex(x->request + KEY_AT, x->id);
}

/* What is judged has been asked in the round before. */
static enum verdict judge_resp(struct exchange *x)
{
    char reply[] = GET_REPLY;
    const uint32_t round = x->round - 1;
    if (round % 2 == 0)
        return judge_exactly(x, "+OK\r\n", 5);
    write_hex(reply + REPLY_AT, x->id);
    write_hex(reply + REPLY_AT + 8, round - 1);
    return judge_exactly(x, reply, sizeof reply - 1);
}

const struct protocol *find_protocol(const char *name)
{
    static const struct protocol protocols[] = {{"echo", ask_echo, judge_echo},
                                                {"http", ask_http, judge_http},
                                                {"resp", ask_resp, judge_resp}};
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    return NULL;
}
