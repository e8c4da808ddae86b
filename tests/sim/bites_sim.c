/*
 * Does the harness bite? Each fault is a classic mistake, planted in the library with THI_PLANT,
 * and must be found by a test of the primitive it is in. The tests are those of the other programs.
 */
#include "barrier_sim.c"
#include "cond_sim.c"
#include "deque_sim.c"
#include "event_sim.c"
#include "future_sim.c"
#include "group_sim.c"
#include "lot_sim.c"
#include "mutex_sim.c"
#include "near_sim.c"
#include "once_sim.c"
#include "pool_cancel_sim.c"
#include "pool_sim.c"
#include "queue_linear_sim.c"
#include "queue_sim.c"
#include "rlock_sim.c"
#include "rwlock_sim.c"
#include "select_pulse_sim.c"
#include "select_sim.c"
#include "semaphore_sim.c"
#include "strand_sim.c"
#include "waitgroup_sim.c"

#undef THI_ENDED /* two layers have a bit of that name */
#include "port_sim.c"

/* A wake that comes before the sleep is forgotten. */
SIM_BITE(1, "unpark-too-early", "strand.a_permit_is_never_lost");
/* Look, then write, where it takes one step: two wakers win. */
SIM_BITE(2, "wait-claimed-twice", "lot.one_wait_two_wakers_one_winner");
/* A waker touches a wait that may have returned. */
SIM_BITE(3, "wait-used-after-done", "lot.wakers_against_timeout_against_cancel");
/* The last look before sleeping is not one step with going to sleep. */
SIM_BITE(4, "lot-check-then-queue", "lot.put_against_take");
/* The table grew between finding the bucket and locking it. */
SIM_BITE(5, "lot-stale-table", "lot.growing_loses_nobody");
/* A waiter that was moved is taken for one that gave up. */
SIM_BITE(6, "lot-moved-unclaimed", "lot.a_moved_waiter_is_won");
/* A sleeper does not say so in the word that the unlock looks at. */
SIM_BITE(7, "mutex-no-mark", "mutex.unlock_against_park");
/* The unlock that wakes one of two removes the mark of the other. */
SIM_BITE(8, "mutex-forgets-the-rest", "mutex.two_mutexes_in_one_bucket");
/* A watcher goes to sleep and leaves the word saying that it watches. */
SIM_BITE(9, "mutex-watcher-sleeps", "mutex.excludes");
/* Barging without a bound. */
SIM_BITE(26, "rwlock-no-turn", "rwlock.a_hog_lets_another_writer_in");
SIM_BITE(10, "mutex-no-handoff", "mutex.a_hog_lets_the_waiter_in");
/* Written after the unlock that let another in. */
SIM_BITE(11, "mutex-late-signature", "mutex.the_last_user_frees_it");
SIM_BITE(13, "rlock-late-depth", "rlock.excludes");
/* Woken for itself and others, and tells nobody. */
SIM_BITE(27, "wait-keeps-it", "event.many_are_let_go");
/* The dropped recheck. */
SIM_BITE(14, "sem-no-recheck", "sem.a_post_is_not_lost");
SIM_BITE(15, "event-no-recheck", "event.set_against_wait");
SIM_BITE(16, "waitgroup-no-recheck", "waitgroup.done_against_wait");
/* Looked at after the change that let the waiter go, and free it. */
SIM_BITE(28, "cond-late-look", "cond.whom_a_broadcast_wakes_may_free_it");
SIM_BITE(17, "sem-late-look", "sem.whom_it_lets_go_may_free_it");
SIM_BITE(18, "event-set-then-look", "event.whom_it_lets_go_may_free_it");
/* Set and cleared while the waiter was about to sleep. */
SIM_BITE(12, "event-no-generation", "event.who_waits_passes_though_it_is_cleared");
/* The missed waiter. */
SIM_BITE(19, "waitgroup-no-wake", "waitgroup.the_last_of_three_lets_two_go");
SIM_BITE(20, "once-no-mark", "once.one_success");
SIM_BITE(21, "rwlock-no-mark", "rwlock.writer_against_reader");
/* Gives up what it has been given. */
SIM_BITE(22, "rwlock-late-give-up", "rwlock.who_gives_up_leaves_no_mark");
/* Some pass a round that others broke. */
SIM_BITE(23, "barrier-forgets-who-left", "barrier.a_timeout_breaks_it_for_all");
/* A round begins before the last one's action has ended. */
SIM_BITE(24, "barrier-no-door", "barrier.newcomers_wait_for_the_action_to_end");
/* A signal between the unlock and the wait. */
SIM_BITE(25, "cond-unlock-then-queue", "cond.signal_against_wait");
/* The mark of a getter is set where it may look too late: an item is there. */
SIM_BITE(29, "queue-no-recheck", "queue.a_put_is_not_lost");
/* Sleepers are looked for after the item has arrived: whoever got it may have ended the queue. */
SIM_BITE(30, "queue-late-look", "queue.who_got_an_item_may_end_it");
SIM_BITE(31, "queue-locked-late-look", "queue.who_got_an_item_may_end_it");
/* The same with the last task_done and a joiner. */
SIM_BITE(32, "queue-done-then-look", "queue.who_has_joined_may_end_it");
SIM_BITE(33, "queue-join-no-recheck", "queue.join_returns_when_all_is_done");
/* A ring begins another life between a look and the lock. */
SIM_BITE(34, "queue-old-ring", "queue.a_ring_comes_back");
/* The mark of sleepers stays in the ring that was sealed. */
SIM_BITE(35, "queue-mark-left-behind", "queue.three_puts_wake_three");
/* Whoever knows a ring from an earlier life gets from it before its turn. */
SIM_BITE(36, "queue-not-behind", "queue.a_ring_comes_back");
/* The descriptor says "nothing there", and does not ask to be told. */
SIM_BITE(37, "queue-fd-no-mark", "queue.the_descriptor_says_what_is_there");
/* Woken for one case, and does another. */
SIM_BITE(38, "select-forgets-the-winner", "select.a_wake_up_is_used");
/* Set and cleared between the look and the sleep. */
SIM_BITE(57, "select-no-generation", "select_pulse.it_finds_who_was_woken_in_vain");
/* The last task is the owner's without a contest. */
SIM_BITE(39, "deque-last-unclaimed", "deque.the_last_task_is_had_once");
/* A thief may read the slot before the task is in it. */
SIM_BITE(40, "deque-publish-then-write", "deque.owner_against_two_thieves");
/* A thief may still be reading the smaller array. */
SIM_BITE(41, "deque-frees-smaller", "deque.growing_loses_nothing");
/* The missed sleeper. */
SIM_BITE(42, "future-no-mark", "future.complete_against_wait");
SIM_BITE(43, "group-no-mark", "group.the_maker_waits_outside");
/* Whoever waits may drop the last reference while it is being completed. */
SIM_BITE(44, "future-not-kept", "future.who_completes_need_not_keep_it");
/* Two callbacks are added at a time: one is lost. */
SIM_BITE(45, "future-late-callback", "future.callbacks_once_and_in_order");
/* Ended between two looks, and taken for one that was seen. */
SIM_BITE(46, "future-wait-skips", "future.wait_for_the_first");
/* The group may be gone once the last end was counted. */
SIM_BITE(47, "group-late-look", "group.spawned_and_stolen");
/* A worker falls asleep over a task in another's deque. */
SIM_BITE(48, "pool-no-look", "pool.a_push_wakes_the_other_worker");
/* What several pushes relied on wakes one only. */
SIM_BITE(49, "pool-found-alone", "pool.one_wakes_the_next");
SIM_BITE(50, "pool-token-dropped", "pool.one_wakes_the_next");
/* Taken while nobody saw, and nobody told. */
SIM_BITE(51, "pool-takes-along", "pool.what_was_taken_along_is_shared");
/* Woken for a task, not needed any more, and tells nobody. */
SIM_BITE(52, "pool-spare-keeps-it", "pool.who_stood_in_passes_the_submit_on");
/* The last one awake goes; those asleep wait for what they have pushed. */
SIM_BITE(53, "pool-leaves-alone", "pool.shutdown_against_spawn");
SIM_BITE(54, "pool-no-standin", "pool.a_spare_worker_stands_in");
/* Tasks change places while thieves may still read and win them. */
SIM_BITE(55, "deque-sorts-unclaimed", "deque.from_under_others");
/* Taken along while what is queued is cancelled, and put where nobody looks again. */
SIM_BITE(56, "pool-drain-misses", "pool_cancel.what_a_worker_has_taken_along");
/* A loop sleeps over what was left before it said that it sleeps. */
SIM_BITE(58, "port-no-recheck", "port.a_post_wakes_who_sleeps_on_the_word");
/* Who was let in is about to give a signal that is closed by then. */
SIM_BITE(59, "port-leaves-visitors", "port.closing_against_posts_to_who_polls");
/* What a late waker has left keeps others from leaving it elsewhere. */
SIM_BITE(60, "port-drops-post", "port.wakers_find_who_moves_between_loops_and_threads");
/* The waker looks where the coroutine slept before; the coroutine does not look at its permit. */
SIM_BITE(61, "coro-no-look", "port.wakers_find_who_moves_between_loops_and_threads");
/* The waker has been trusted with a later wake-up, elsewhere, or in a port that is used again. */
SIM_BITE(62, "coro-stays-late", "port.who_is_late_by_a_loop_goes_on_for_the_other");
SIM_BITE(63, "coro-port-again", "port.who_is_late_by_a_loop_goes_on_for_the_other");
/* What was left with a loop whose thread is elsewhere keeps others from leaving it where it sleeps now. */
SIM_BITE(64, "port-left-away", "port.what_is_left_with_who_is_away_is_passed_on");
SIM_BITE(65, "coro-left-elsewhere", "port.what_is_left_with_who_is_away_is_passed_on");
/* Who waited near a thread stays there when that goes to sleep. */
SIM_BITE(66, "near-for-ever", "near.items_come_from_here_and_elsewhere");
/* Who was cancelled while it was near is put to sleep. */
SIM_BITE(67, "near-no-look", "near.who_is_cancelled_is_woken");
/* Woken and out of time at once, it says the latter. */
SIM_BITE(68, "near-eats-it", "near.a_wait_that_ends_otherwise_eats_no_item");
/* Who spawns looks whether the loop is being destroyed before it counts that. */
SIM_BITE(69, "port-looks-early", "port.who_is_let_in_is_waited_for");
