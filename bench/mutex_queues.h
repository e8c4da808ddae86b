/*
 * What the users of raw pthreads and of the C++ library write when they need a queue: a store under a
 * mutex, with two conditions.
 */
#ifndef THRUM_BENCH_MUTEX_QUEUES_H
#define THRUM_BENCH_MUTEX_QUEUES_H

#include <condition_variable>
#include <deque>
#include <mutex>
#include <queue>

#include "harness.h"

namespace bench
{

using Item = void *; /* what all queues carry; never null */

inline Item as_item(std::uint64_t number)
{
    return reinterpret_cast<Item>(static_cast<std::uintptr_t>(number));
}

inline std::uint64_t as_number(Item item)
{
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(item));
}

/* ---- stores: what is kept, for one thread at a time ---- */

struct RingStore {
    std::vector<Item> slots;
    std::size_t first = 0;
    std::size_t count = 0;

    explicit RingStore(std::size_t capacity) : slots(capacity) {}
    bool empty() const { return count == 0; }
    bool full() const { return count == slots.size(); }
    void push(Item item)
    {
        std::size_t place = first + count++;
        slots[place < slots.size() ? place : place - slots.size()] = item;
    }
    Item pop()
    {
        Item item = slots[first];
        first = first + 1 < slots.size() ? first + 1 : 0;
        count--;
        return item;
    }
};

/* A linked list: what grows when all you have is malloc. */
class ListStore
{
  public:
    explicit ListStore(std::size_t = 0) {}
    ~ListStore()
    {
        while (!empty())
            pop();
    }
    ListStore(const ListStore &) = delete;
    ListStore &operator=(const ListStore &) = delete;
    bool empty() const { return first == nullptr; }
    bool full() const { return false; }
    void push(Item item)
    {
        Node *node = static_cast<Node *>(std::malloc(sizeof *node));
        must(node != nullptr);
        *node = {nullptr, item};
        *last = node;
        last = &node->next;
    }
    Item pop()
    {
        Node *node = first;
        Item item = node->item;
        first = node->next;
        if (first == nullptr)
            last = &first;
        std::free(node);
        return item;
    }

  private:
    struct Node {
        Node *next;
        Item item;
    };
    Node *first = nullptr;
    Node **last = &first;
};

/* A binary heap, the smallest first, its comparison inlined. */
struct HeapStore {
    std::vector<Item> slots;
    std::size_t count = 0;

    explicit HeapStore(std::size_t capacity) : slots(capacity) {}
    bool empty() const { return count == 0; }
    bool full() const { return count == slots.size(); }
    static bool before(Item a, Item b) { return as_number(a) < as_number(b); }
    void push(Item item)
    {
        std::size_t hole = count++;
        while (hole > 0 && before(item, slots[(hole - 1) / 2])) {
            slots[hole] = slots[(hole - 1) / 2];
            hole = (hole - 1) / 2;
        }
        slots[hole] = item;
    }
    Item pop()
    {
        Item top = slots[0];
        Item item = slots[--count];
        std::size_t hole = 0;
        for (std::size_t child = 1; child < count; child = 2 * hole + 1) {
            if (child + 1 < count && before(slots[child + 1], slots[child]))
                child++;
            if (!before(slots[child], item))
                break;
            slots[hole] = slots[child];
            hole = child;
        }
        slots[hole] = item;
        return top;
    }
};

/* The C++ library's containers; 0: no bound. */
template <class Container> struct StdStore {
    Container items;
    std::size_t capacity;

    explicit StdStore(std::size_t bound) : capacity(bound) {}
    bool empty() const { return items.empty(); }
    bool full() const { return capacity != 0 && items.size() == capacity; }
    void push(Item item) { items.push(item); }
    Item pop()
    {
        Item item;
        if constexpr (std::is_same_v<Container, std::queue<Item>>)
            item = items.front();
        else
            item = items.top();
        items.pop();
        return item;
    }
};

/* A larger priority is a smaller number. */
struct LaterNumber {
    bool operator()(Item a, Item b) const { return as_number(a) > as_number(b); }
};

using StdDequeStore = StdStore<std::queue<Item>>; /* over std::deque */
using StdHeapStore = StdStore<std::priority_queue<Item, std::vector<Item>, LaterNumber>>;

/* ---- the baseline: a store under a mutex, a condition for either side, always signalled ---- */

/* When to signal: under the mutex, which is up to twice as fast with several threads on either side; or
 * after the unlock, which is a little faster with one, and twice as fast on one processor. */
enum class Signals { inside, after };

constexpr Signals other(Signals one)
{
    return one == Signals::inside ? Signals::after : Signals::inside;
}

/* It can be closed, as thrum's can. `counts`: with task_done and join. */
template <class Store, Signals signals, bool counts = false> class PthreadQueue
{
  public:
    static constexpr const char *name =
        signals == Signals::inside ? "pthreads_signal_inside" : "pthreads_signal_after";

    explicit PthreadQueue(std::size_t capacity = 1024) : store(capacity) {}
    ~PthreadQueue()
    {
        pthread_cond_destroy(&not_full);
        pthread_cond_destroy(&not_empty);
        pthread_cond_destroy(&all_done);
        pthread_mutex_destroy(&mutex);
    }
    PthreadQueue(const PthreadQueue &) = delete;
    PthreadQueue &operator=(const PthreadQueue &) = delete;

    bool put(Item item)
    {
        pthread_mutex_lock(&mutex);
        while (store.full() && !closed)
            pthread_cond_wait(&not_full, &mutex);
        bool open = !closed;
        if (open) {
            store.push(item);
            unfinished += counts;
        }
        unlock_and_signal(&not_empty);
        return open;
    }
    bool get(Item *item)
    {
        pthread_mutex_lock(&mutex);
        while (store.empty() && !closed)
            pthread_cond_wait(&not_empty, &mutex);
        bool some = !store.empty();
        if (some)
            *item = store.pop();
        unlock_and_signal(&not_full);
        return some;
    }
    /* Batches: for one producer and one consumer, as they signal once. */
    std::size_t put_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        bool open = true;
        while (open && done < n) {
            pthread_mutex_lock(&mutex);
            while (store.full() && !closed)
                pthread_cond_wait(&not_full, &mutex);
            open = !closed;
            while (open && done < n && !store.full())
                store.push(items[done++]);
            unlock_and_signal(&not_empty);
        }
        return done;
    }
    std::size_t get_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        pthread_mutex_lock(&mutex);
        while (store.empty() && !closed)
            pthread_cond_wait(&not_empty, &mutex);
        while (done < n && !store.empty())
            items[done++] = store.pop();
        unlock_and_signal(&not_full);
        return done;
    }
    void task_done()
    {
        pthread_mutex_lock(&mutex);
        bool last = --unfinished == 0;
        pthread_mutex_unlock(&mutex);
        if (last)
            pthread_cond_broadcast(&all_done);
    }
    void join()
    {
        pthread_mutex_lock(&mutex);
        while (unfinished != 0)
            pthread_cond_wait(&all_done, &mutex);
        pthread_mutex_unlock(&mutex);
    }
    void close()
    {
        pthread_mutex_lock(&mutex);
        closed = true;
        pthread_mutex_unlock(&mutex);
        pthread_cond_broadcast(&not_full);
        pthread_cond_broadcast(&not_empty);
    }

  private:
    void unlock_and_signal(pthread_cond_t *cond)
    {
        if constexpr (signals == Signals::inside)
            pthread_cond_signal(cond);
        pthread_mutex_unlock(&mutex);
        if constexpr (signals == Signals::after)
            pthread_cond_signal(cond);
    }

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
    pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
    pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
    bool closed = false;
    std::uint64_t unfinished = 0;
    Store store;
};

/* That which thrum is compared with: the order that is the faster one where it is used. */
template <class Queue> struct Baseline : Queue {
    static constexpr const char *name = "pthreads";
    using Queue::Queue;
};

/* The same in C++. */
template <class Store, Signals signals> class StdQueue
{
  public:
    static constexpr const char *name = "std";
    static constexpr unsigned marks = no_close;

    explicit StdQueue(std::size_t capacity = 1024) : store(capacity) {}
    bool put(Item item)
    {
        std::unique_lock<std::mutex> held(mutex);
        while (store.full())
            not_full.wait(held);
        store.push(item);
        if constexpr (signals == Signals::after)
            held.unlock();
        not_empty.notify_one();
        return true;
    }
    bool get(Item *item)
    {
        std::unique_lock<std::mutex> held(mutex);
        while (store.empty())
            not_empty.wait(held);
        *item = store.pop();
        if constexpr (signals == Signals::after)
            held.unlock();
        not_full.notify_one();
        return true;
    }

  private:
    std::mutex mutex;
    std::condition_variable not_full;
    std::condition_variable not_empty;
    Store store;
};

} // namespace bench

#endif /* THRUM_BENCH_MUTEX_QUEUES_H */
