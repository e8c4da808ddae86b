#ifndef THI_COROUTINE_H
#define THI_COROUTINE_H

/*
 * The door of lib/coroutine. Other layers use it as programs do, by thrum/io.h and the like; and streams, who have
 * sockets of their own; and this, who close descriptors in their own way:
 */
#include "coroutine/stream.h"

/* Wakes whoever waits for it, for good: ECANCELED. To be called before it is closed. */
void thi_waitfd_closed(int fd);

/* Wakes whoever waits for it: they try again. To be called when it has been closed, for who came in between. */
void thi_waitfd_look_again(int fd);

#endif /* THI_COROUTINE_H */
