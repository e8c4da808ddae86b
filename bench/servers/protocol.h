/* What a connection of the load says, and what it has to hear. */
#ifndef THRUM_BENCH_PROTOCOL_H
#define THRUM_BENCH_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

/* One connection's: the request under way, and what came of its reply. */
struct exchange {
    uint32_t id;
    uint32_t round;
    uint32_t request_size;
    uint32_t got_size;
    uint32_t head_size; /* HTTP: of the last reply, which the next is likely to have too */
    char request[128];
    char got[896];
};

enum verdict { REPLY_INCOMPLETE, REPLY_RIGHT, REPLY_WRONG };

struct protocol {
    const char *name;
    void (*ask)(struct exchange *x); /* fills the request in, and forgets the last reply */
    enum verdict (*judge)(struct exchange *x);
};

/* NULL: there is none of that name. */
const struct protocol *find_protocol(const char *name);

#endif /* THRUM_BENCH_PROTOCOL_H */
