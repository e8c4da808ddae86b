/*
 * An allocator of the program's own: set before the library allocates for the first time, it hears of
 * every allocation after that.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/local.h>

struct account {
    size_t taken, returned; /* bytes; a program with threads would count atomically */
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Must not call the library. */
static void *take(size_t size, size_t alignment, void *ctx)
{
    struct account *account = ctx;
    account->taken += size;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void give_back(void *memory, size_t size, size_t alignment, void *ctx)
{
    struct account *account = ctx;
    (void)alignment;
    account->returned += size;
    free(memory);
}

int main(void)
{
    static struct account account; /* lives as long as the process, as the allocator does */
    thrum_allocator_t allocator = THRUM_ALLOCATOR_INIT;
    allocator.allocate = take;
    allocator.release = give_back;
    allocator.ctx = &account;
    must(thrum_set_allocator(&allocator));

    thrum_local_t locals[20];
    for (int i = 0; i < 20; i++) {
        must(thrum_local_init(&locals[i], NULL));
        must(thrum_local_set(&locals[i], &account));
    }
    printf("the library has memory of ours: %s\n", account.taken > 0 ? "yes" : "no");
    printf("and gave some back: %s\n", account.returned > 0 ? "yes" : "no");
    printf("a second allocator: %s\n", thrum_strerror(thrum_set_allocator(&allocator)));
    return 0;
}
