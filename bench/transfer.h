/*
 * So many items from producers to consumers: how long until the last consumer has its share.
 */
#ifndef THRUM_BENCH_TRANSFER_H
#define THRUM_BENCH_TRANSFER_H

#include "carry.h"
#include "queues.h"

namespace bench
{

struct Shape {
    int producers;
    int consumers;
    int threads() const { return producers + consumers; }
};

/* ---- how items are moved ---- */

struct Numbers {
    std::uint64_t first;
    std::uint64_t n;
};

/* The number of an item, scrambled so that a heap has to work; never 0. An odd factor keeps different
 * numbers different. */
inline std::uint64_t scrambled(std::uint64_t number)
{
    return number * 0x9e3779b97f4a7c15u;
}

inline std::uint64_t plain(std::uint64_t number)
{
    return number;
}

template <std::uint64_t (*label)(std::uint64_t)> struct OneByOneAs {
    template <class Queue> static void produce(Queue &queue, Numbers numbers, Carrier &me)
    {
        Putter<Queue> putter{queue};
        std::uint64_t i = 0;
        std::uint64_t sum = 0;
        for (; i < numbers.n; i++) {
            std::uint64_t number = label(numbers.first + i);
            if (!putter.put(as_item(number)))
                break;
            sum += number;
        }
        me.items = i;
        me.sum = sum;
    }
    template <class Queue> static void consume(Queue &queue, std::uint64_t share, Carrier &me)
    {
        Getter<Queue> getter{queue};
        std::uint64_t i = 0;
        std::uint64_t sum = 0;
        Item item = nullptr;
        for (; i < share && getter.get(&item); i++)
            sum += as_number(item);
        me.items = i;
        me.sum = sum;
    }
};

using OneByOne = OneByOneAs<plain>;
using Scrambled = OneByOneAs<scrambled>;

template <std::size_t size> struct Batches {
    template <class Queue> static void produce(Queue &queue, Numbers numbers, Carrier &me)
    {
        Putter<Queue> putter{queue};
        Item batch[size];
        std::uint64_t i = 0;
        std::uint64_t sum = 0;
        while (i < numbers.n) {
            std::size_t n = std::min<std::uint64_t>(size, numbers.n - i);
            for (std::size_t k = 0; k < n; k++)
                batch[k] = as_item(numbers.first + i + k);
            std::size_t done = putter.put_many(batch, n);
            for (std::size_t k = 0; k < done; k++)
                sum += as_number(batch[k]);
            i += done;
            if (done < n)
                break;
        }
        me.items = i;
        me.sum = sum;
    }
    template <class Queue> static void consume(Queue &queue, std::uint64_t share, Carrier &me)
    {
        Getter<Queue> getter{queue};
        Item batch[size];
        std::uint64_t i = 0;
        std::uint64_t sum = 0;
        while (i < share) {
            std::size_t n = getter.get_many(batch, std::min<std::uint64_t>(size, share - i));
            if (n == 0)
                break;
            for (std::size_t k = 0; k < n; k++)
                sum += as_number(batch[k]);
            i += n;
        }
        me.items = i;
        me.sum = sum;
    }
};

/* ---- the transfer ---- */

struct Transfer {
    std::uint64_t put = 0;
    std::uint64_t got = 0;
    std::uint64_t difference = 0; /* of the sums of what was put and what was got */
    double seconds = 0;
};

inline Transfer sum_up(const std::vector<Carrier> &carriers, Shape shape)
{
    Transfer t;
    std::int64_t begin = INT64_MAX;
    std::int64_t end = 0;
    for (int i = 0; i < shape.threads(); i++) {
        const Carrier &one = carriers[static_cast<std::size_t>(i)];
        const bool producer = i < shape.producers;
        (producer ? t.put : t.got) += one.items;
        t.difference += producer ? one.sum : 0 - one.sum;
        begin = std::min(begin, one.begin);
        end = producer ? end : std::max(end, one.end);
    }
    t.seconds = static_cast<double>(end - begin) * 1e-9;
    return t;
}

/* Polled queues end after this; what they have moved until then counts. */
constexpr std::int64_t patience_ns = 3000000000;

template <class Queue, class = void> struct Patience {
    explicit Patience(Queue &) {}
};
template <class Queue> struct Patience<Queue, std::void_t<decltype(Queue::give_up_at)>> {
    explicit Patience(Queue &queue) { queue.give_up_at = now_ns() + patience_ns; }
};

template <class Load, class Queue> Transfer transfer(Queue &queue, Shape shape, std::uint64_t items)
{
    const std::uint64_t each_puts = items / static_cast<std::uint64_t>(shape.producers);
    const std::uint64_t each_gets = items / static_cast<std::uint64_t>(shape.consumers);
    Patience<Queue> until_then(queue);
    return sum_up(carry(shape.threads(),
                        [&](int i, Carrier &me) {
                            if (i < shape.producers)
                                Load::produce(
                                    queue,
                                    {1 + static_cast<std::uint64_t>(i) * each_puts, each_puts}, me);
                            else
                                Load::consume(queue, each_gets, me);
                        }),
                  shape);
}

/* Takes out what is left after the transfer; says whether what came out is what was put in. */
template <class Queue> bool balanced(Queue &queue, const Transfer &t)
{
    Carrier rest;
    Patience<Queue> again(queue);
    OneByOne::consume(queue, t.put - t.got, rest);
    return rest.items == t.put - t.got && rest.sum == t.difference;
}

/* What every transfer reports. */
template <class Queue>
void report_transfer(benchmark::State &state, Queue &queue, const Transfer &t)
{
    state.SetIterationTime(t.seconds);
    state.counters["mitems"] = static_cast<double>(t.got) / t.seconds * 1e-6;
    mark<Queue>(state);
    if (!balanced(queue, t))
        state.SkipWithError("what came out is not what was put in");
}

} // namespace bench

#endif /* THRUM_BENCH_TRANSFER_H */
