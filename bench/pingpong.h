/*
 * Two threads that wait for each other by turns. What they play with is a ball: its post() lets one
 * take() of the other thread return.
 */
#ifndef THRUM_BENCH_PINGPONG_H
#define THRUM_BENCH_PINGPONG_H

#include "harness.h"

namespace bench
{

template <class Ball> struct Court {
    alignas(apart) Ball ping;
    alignas(apart) Ball pong;
    alignas(apart) std::atomic<bool> over{false};
};

/* Calls what the partner does as the ball would have it: in its thread, unless it has an as_partner(). */
template <class Ball, class F> auto call_as_partner(F f, int) -> decltype(Ball::as_partner(f))
{
    Ball::as_partner(f);
}
template <class Ball, class F> void call_as_partner(F f, long)
{
    f();
}

/* Plays for `ms`. */
template <class Ball> double ns_per_round(Court<Ball> &court, int ms)
{
    constexpr int between_looks = 16; /* rounds from one look at the clock to the next */
    std::int64_t begin = now_ns();
    std::int64_t end = begin + std::int64_t{ms} * 1000000;
    std::int64_t rounds = 0;
    std::int64_t now;
    do {
        for (int i = 0; i < between_looks; i++) {
            court.ping.post();
            court.pong.take();
        }
        rounds += between_looks;
        now = now_ns();
    } while (now < end);
    return static_cast<double>(now - begin) / static_cast<double>(rounds);
}

/* The round trip between two threads, pinned on two processors or both on one. It lies if the clock
 * starts before the partner has arrived and before those that adapt have done so (some time is
 * played first), if both objects share a cache line, or if another process runs on one of the
 * processors. */
template <class Ball> void ping_pong(benchmark::State &state, int here, int there)
{
    constexpr int settle_ms = 20;
    for (auto _ : state) {
        Court<Ball> court;
        Pinned pinned(here);
        std::thread partner([&court, there] {
            Pinned partner_pinned(there);
            call_as_partner<Ball>(
                [&court] {
                    while (court.ping.take(), !court.over)
                        court.pong.post();
                },
                0);
        });
        ns_per_round(court, settle_ms);
        state.SetIterationTime(ns_per_round(court, options.window_ms) * 1e-9);
        court.over = true;
        court.ping.post();
        partner.join();
    }
}

enum class Cores { two_and_one, two_only };

template <class Ball>
void add_ball(const char *topic, const std::string &what, const std::string &about,
              Cores cores = Cores::two_and_one)
{
    auto add_on = [&](const char *where, int here, int there) {
        const Workload round_trip = {topic, what + (here == there ? "_one_core" : "_two_cores"), 2,
                                     about + where};
        add_window(round_trip, Ball::name, [here, there](benchmark::State &state) {
            ping_pong<Ball>(state, here, there);
            mark<Ball>(state);
        });
    };
    const std::vector<int> cpus = processors();
    if (cpus.size() >= 2)
        add_on(", the threads on two processors.", cpus[0], cpus[1]);
    if (cores == Cores::two_and_one)
        add_on(", both threads on one processor.", cpus[0], cpus[0]);
}

} // namespace bench

#endif /* THRUM_BENCH_PINGPONG_H */
