/*
 * getaddrinfo: on a helper thread, unless the name is a number or none.
 */
#include "patch/patch.h"

struct question {
    const char *node;
    const char *service;
    const struct addrinfo *hints;
    struct addrinfo **found;
    int answer;
};

static ssize_t block_in_question(void *arg)
{
    struct question *q = arg;
    q->answer = thi_real()->getaddrinfo(q->node, q->service, q->hints, q->found);
    return q->answer == EAI_SYSTEM ? -1 : 0; /* then errno says why */
}

/* Whether it need not be asked for; then with the answer. */
static bool is_number(const char *node, const char *service, const struct addrinfo *hints,
                      struct addrinfo **found)
{
    struct addrinfo numeric = {.ai_flags = 0};
    if (hints != NULL)
        numeric = *hints;
    else
        numeric.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG; /* what no hints mean */
    if ((numeric.ai_flags & AI_CANONNAME) != 0)
        return false;
    numeric.ai_flags |= AI_NUMERICHOST;
    return thi_real()->getaddrinfo(node, service, &numeric, found) == 0;
}

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    const bool asks = node != NULL && (hints == NULL || (hints->ai_flags & AI_NUMERICHOST) == 0);
    if (!asks || !thrum_loop_inside())
        return thi_real()->getaddrinfo(node, service, hints, found);
    if (is_number(node, service, hints, found))
        return 0;
    struct question question = {node, service, hints, found, EAI_SYSTEM};
    if (thi_patch_elsewhere(block_in_question, &question) != 0 && errno == ENOMEM)
        return EAI_MEMORY;
    return question.answer;
}
