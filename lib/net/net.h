#ifndef THI_NET_H
#define THI_NET_H

/*
 * The door of lib/net: frames on streams, and servers.
 */
#include <thrum/frame.h>
#include <thrum/pack.h>

#include "base/base.h"

struct iovec;

/* Frames as configured, with the defaults filled in. False: no such frames. */
bool thi_frame_config(thrum_frame_config_t *full, const thrum_frame_config_t *config);

#endif /* THI_NET_H */
