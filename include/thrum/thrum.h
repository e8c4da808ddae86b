#ifndef THRUM_THRUM_H
#define THRUM_THRUM_H

/**
 * @file
 * All of thrum. Each header stands alone; this one includes them all.
 */

#include <thrum/barrier.h>
#include <thrum/base.h>
#include <thrum/cancel.h>
#include <thrum/cond.h>
#include <thrum/coroutine.h>
#include <thrum/diagnosis.h>
#include <thrum/event.h>
#include <thrum/executor.h>
#include <thrum/frame.h>
#include <thrum/future.h>
#include <thrum/group.h>
#include <thrum/io.h>
#include <thrum/local.h>
#include <thrum/loop.h>
#include <thrum/manager.h>
#include <thrum/mutex.h>
#include <thrum/once.h>
#include <thrum/pack.h>
#include <thrum/pipe.h>
#include <thrum/process.h>
#include <thrum/process_pool.h>
#include <thrum/queue.h>
#include <thrum/rlock.h>
#include <thrum/rwlock.h>
#include <thrum/select.h>
#include <thrum/semaphore.h>
#include <thrum/server.h>
#include <thrum/shared.h>
#include <thrum/shared_lock.h>
#include <thrum/shared_queue.h>
#include <thrum/subprocess.h>
#include <thrum/thread.h>
#include <thrum/thread_pool.h>
#include <thrum/time.h>
#include <thrum/timer.h>
#include <thrum/transfer.h>
#include <thrum/waitgroup.h>

#endif /* THRUM_THRUM_H */
