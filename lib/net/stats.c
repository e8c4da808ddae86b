/*
 * What can be asked of a server.
 */
#include <stdio.h>

#include <netinet/in.h>

#include "net/server.h"

#include "os/os.h"

static unsigned port_of(const thrum_server_t *server)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)&server->name.name;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&server->name.name;
    if (server->name.name.ss_family == AF_INET)
        return ntohs(four->sin_port);
    return server->name.name.ss_family == AF_INET6 ? ntohs(six->sin6_port) : 0;
}

size_t thrum_server_address(const thrum_server_t *server, char *text, size_t size)
{
    if (server != NULL && server->name.both)
        return (size_t)snprintf(text, size, "*:%u", port_of(server));
    if (server != NULL)
        return thi_address_text(&server->name, text, size);
    if (size != 0)
        text[0] = '\0';
    return 0;
}

unsigned thrum_server_port(const thrum_server_t *server)
{
    return server != NULL ? port_of(server) : 0;
}

static void add_slot(thrum_server_stats_t *stats, const thi_slot_t *slot)
{
    const uint32_t state = thi_load_relaxed(&slot->state);
    if (state == THI_SLOT_FREE)
        return;
    stats->active++;
    stats->idle += state == THI_SLOT_IDLE;
    stats->requests += thi_load_relaxed(&slot->requests);
    stats->received += thi_load_relaxed(&slot->received);
    stats->sent += thi_load_relaxed(&slot->sent);
}

void thrum_server_stats(const thrum_server_t *server, thrum_server_stats_t *stats)
{
    if (server == NULL || stats == NULL)
        return;
    const thi_tally_t *tally = server->tally;
    *stats = (thrum_server_stats_t){
        .accepted = thi_load_relaxed(&tally->accepted),
        .completed = thi_load_relaxed(&tally->completed),
        .failed = thi_load_relaxed(&tally->failed),
        .timed_out = thi_load_relaxed(&tally->timed_out),
        .cancelled = thi_load_relaxed(&tally->cancelled),
        .crashed = thi_load_relaxed(&tally->crashed),
        .shed = thi_load_relaxed(&tally->shed),
        .requests = thi_load_relaxed(&tally->requests),
        .received = thi_load_relaxed(&tally->received),
        .sent = thi_load_relaxed(&tally->sent),
        .restarts = thi_load_relaxed(&tally->restarts),
        .peak = thi_load_relaxed(&tally->peak),
        .processes = thi_load_relaxed(&tally->processes),
    };
    if (thi_load_relaxed(&tally->active) != 0)
        for (size_t i = 0; i < server->config.max_connections; i++)
            add_slot(stats, &tally->slots[i]);
}
