#ifndef THI_PROCESS_H
#define THI_PROCESS_H

/*
 * The door of lib/process. Other layers use it as programs do, by the headers in include/thrum.
 */

#include <thrum/process.h>

#include "thread/thread.h"

#endif /* THI_PROCESS_H */
