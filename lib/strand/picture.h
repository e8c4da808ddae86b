#ifndef THI_PICTURE_H
#define THI_PICTURE_H

/*
 * Private to lib/strand: a picture of all strands that wait, for the reports.
 */

#include "strand/check.h"

/* What a strand waits for. `id` is 0 for one that does not wait. */
typedef struct thi_line {
    uint32_t id;
    uint32_t owner; /* who holds the object, 0: not known */
    const thi_site_t *site;
    const void *object;
    thrum_time_t since;
    uint32_t wait; /* which of the strand's waits; 0: it is only just going to sleep */
    size_t claims; /* its claims: [claims, claims_end) */
    size_t claims_end;

    /* The search for circles (diagnosis.c). */
    size_t tried;             /* how many of the holders it waits for */
    const thi_claim_t *claim; /* what the checked build knows of the last one tried */
    uint32_t to;              /* the slot of that one */
    uint32_t from;            /* the slot before it on the way */
    uint32_t state;

    uint32_t seen; /* the last strand with a claim against it */
} thi_line_t;

/* Lines are found by the slot of the strand's id. */
typedef struct thi_picture {
    thi_line_t *lines;
    uint32_t slots;
    size_t waiting; /* lines in use */
    thrum_time_t taken;
    thi_claim_t *claims;
    size_t claim_room;
} thi_picture_t;

/* Both are to be dropped, also after a failure. False: no memory. */
bool thi_picture_take(thi_picture_t *p);
bool thi_picture_take_steady(thi_picture_t *p); /* only waits that went on all the while */
void thi_picture_drop(thi_picture_t *p);

/* NULL: the strand was registered after the picture was begun. */
thi_line_t *thi_picture_line(const thi_picture_t *p, uint32_t id);

/* What the checked build knows of the holder of what the line's strand wants; NULL: nothing. */
const thi_claim_t *thi_picture_claim(const thi_picture_t *p, const thi_line_t *line,
                                     uint32_t holder);

#endif /* THI_PICTURE_H */
