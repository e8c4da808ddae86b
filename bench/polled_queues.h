/*
 * Queues that cannot wait are polled. Two of them are floors: rings written for the comparison that
 * neither sleep nor close.
 */
#ifndef THRUM_BENCH_POLLED_QUEUES_H
#define THRUM_BENCH_POLLED_QUEUES_H

#include "mutex_queues.h"

namespace bench
{

/* Makes a queue without waits one that is polled: after a try in vain so many pauses, after a second
 * one the processor is given away, and so on. 64 pauses serve all of these queues better than trying
 * without them does: who comes back at once takes the cache line from the other side. After give_up_at
 * it does what it can at once and no more: some of these queues come to a standstill when threads
 * outnumber processors. */
template <class Tries, int pauses = 64> class Polled : public Tries
{
  public:
    alignas(apart) std::int64_t give_up_at = INT64_MAX;

    using Tries::Tries;
    bool put(Item item)
    {
        return poll([&] { return Tries::tryput(item); });
    }
    bool get(Item *item)
    {
        return poll([&] { return Tries::tryget(item); });
    }
    std::size_t put_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        poll([&] { return (done += Tries::tryput_many(items + done, n - done)) == n; });
        return done;
    }
    std::size_t get_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        poll([&] { return (done = Tries::tryget_many(items, n)) > 0; });
        return done;
    }
    template <class Attempt> bool poll(Attempt attempt)
    {
        for (unsigned vain = 1; !attempt(); vain++) {
            if (vain % 2 == 1)
                pause_for_a_while();
            else if (now_ns() < give_up_at)
                sched_yield();
            else
                return false;
        }
        return true;
    }

  private:
    static void pause_for_a_while()
    {
        for (int i = 0; i < pauses; i++)
            cpu_relax();
    }
};

/* D. Vyukov's bounded ring: a sequence number in every slot says whose turn it is. */
class SequenceTries
{
  public:
    static constexpr const char *name = "floor_sequence_ring";
    static constexpr unsigned marks = polls | no_close;

    explicit SequenceTries(std::size_t capacity = 1024) : slots(capacity), mask(capacity - 1)
    {
        must((capacity & mask) == 0);
        for (std::size_t i = 0; i < capacity; i++)
            slots[i].turn.store(i, std::memory_order_relaxed);
    }
    bool tryput(Item item)
    {
        Slot *slot = take_turn(tail, 0);
        if (slot == nullptr)
            return false;
        slot->item = item;
        slot->turn.store(slot->turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        return true;
    }
    bool tryget(Item *item)
    {
        Slot *slot = take_turn(head, 1);
        if (slot == nullptr)
            return false;
        *item = slot->item;
        slot->turn.store(slot->turn.load(std::memory_order_relaxed) + mask,
                         std::memory_order_release);
        return true;
    }

  private:
    struct Slot {
        std::atomic<std::size_t> turn{0};
        Item item = nullptr;
    };

    /* The slot of the next position, if it is ready for it; `ahead`: by how much its turn then is. */
    Slot *take_turn(std::atomic<std::size_t> &end, std::size_t ahead)
    {
        std::size_t position = end.load(std::memory_order_relaxed);
        for (;;) {
            Slot &slot = slots[position & mask];
            std::size_t turn = slot.turn.load(std::memory_order_acquire);
            auto behind = static_cast<std::ptrdiff_t>(turn - (position + ahead));
            if (behind < 0)
                return nullptr;
            if (behind > 0)
                position = end.load(std::memory_order_relaxed);
            else if (end.compare_exchange_weak(position, position + 1, std::memory_order_relaxed))
                return &slot;
        }
    }

    std::vector<Slot> slots;
    std::size_t mask;
    alignas(apart) std::atomic<std::size_t> tail{0};
    alignas(apart) std::atomic<std::size_t> head{0};
};

/* One producer, one consumer, each with its own copy of where the other was last seen. */
class SpscTries
{
  public:
    static constexpr const char *name = "floor_spsc_ring";
    static constexpr unsigned marks = polls | no_close | one_each;

    explicit SpscTries(std::size_t capacity = 1024) : slots(capacity), mask(capacity - 1)
    {
        must((capacity & mask) == 0);
    }
    bool tryput(Item item) { return tryput_many(&item, 1) == 1; }
    bool tryget(Item *item) { return tryget_many(item, 1) == 1; }
    std::size_t tryput_many(const Item *items, std::size_t n)
    {
        std::size_t position = tail.load(std::memory_order_relaxed);
        if (position + n - head_seen > slots.size())
            head_seen = head.load(std::memory_order_acquire);
        n = std::min(n, slots.size() - (position - head_seen));
        for (std::size_t i = 0; i < n; i++)
            slots[(position + i) & mask] = items[i];
        if (n > 0)
            tail.store(position + n, std::memory_order_release);
        return n;
    }
    std::size_t tryget_many(Item *items, std::size_t n)
    {
        std::size_t position = head.load(std::memory_order_relaxed);
        if (tail_seen - position < n)
            tail_seen = tail.load(std::memory_order_acquire);
        n = std::min(n, tail_seen - position);
        for (std::size_t i = 0; i < n; i++)
            items[i] = slots[(position + i) & mask];
        if (n > 0)
            head.store(position + n, std::memory_order_release);
        return n;
    }

  private:
    std::vector<Item> slots;
    std::size_t mask;
    alignas(apart) std::atomic<std::size_t> tail{0};
    std::size_t head_seen = 0; /* the producer's */
    alignas(apart) std::atomic<std::size_t> head{0};
    std::size_t tail_seen = 0; /* the consumer's */
};

using SequenceRing = Polled<SequenceTries>;
using SpscRing = Polled<SpscTries>;

} // namespace bench

#endif /* THRUM_BENCH_POLLED_QUEUES_H */
