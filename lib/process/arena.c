/*
 * Arenas: a segment, mapped whole, with a heap in it that grows as it is used.
 */
#include <string.h>

#include <thrum/shared.h>

#include "process/arena_heap.h"

#define PIECE_MAX ((size_t)64 << 20) /* most that it grows ahead of need */
#define PIECE_MIN ((size_t)256 << 10)
#define SMALLEST ((size_t)16 << 10)

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static thrum_shared_t *new_handle(int fd, void *base, size_t max)
{
    thrum_shared_t *arena = thi_alloc(sizeof *arena);
    if (arena != NULL)
        *arena = (thrum_shared_t){.heap = base, .max = max, .fd = fd};
    return arena;
}

/* Maps it and makes a handle; the descriptor is the handle's then. */
static int attach(thrum_shared_t **arena, int fd, size_t max)
{
    void *base = NULL;
    const int err = thi_segment_map(fd, max, &base);
    if (err != 0)
        return err;
    *arena = new_handle(fd, base, max);
    if (*arena == NULL) {
        thi_pages_unmap(base, max);
        return ENOMEM;
    }
    return 0;
}

static int begin(thrum_shared_t *arena, const char *name, size_t size)
{
    thi_heap_t *heap = arena->heap;
    int err = thi_segment_grow(arena->fd, 0, size);
    if (err != 0)
        return err;
    err = thi_heap_begin(heap, arena->max, size);
    if (err != 0)
        return err;
    if (name != NULL) {
        strncpy(heap->name, name, sizeof heap->name - 1);
        return thi_arena_claim(arena);
    }
    heap->state = THI_ARENA_READY;
    thi_store_release(&heap->magic, THI_ARENA_MAGIC); /* R2: release; pairs with A2 */
    return 0;
}

static int create(thrum_shared_t **arena, const char *name, size_t size, size_t max)
{
    char link[sizeof THI_ARENA_LINK + THRUM_SHARED_NAME_MAX] = THI_ARENA_LINK;
    int fd = -1;
    thrum_shared_t *made = NULL;
    if (name != NULL)
        thi_arena_link_to(link, name);
    int err = thi_segment_create(link, &fd);
    if (err != 0)
        return err;
    err = attach(&made, fd, max);
    if (err != 0) {
        thi_fd_close(fd);
        return err;
    }
    err = begin(made, name, size);
    if (err != 0)
        thrum_shared_destroy(made);
    else
        *arena = made;
    return err;
}

static bool is_arenas_name(const char *name)
{
    return thi_shared_is_name(name) && strchr(name, '/') == NULL;
}

int thrum_shared_create(thrum_shared_t **arena, const thrum_shared_config_t *config)
{
    static const thrum_shared_config_t defaults = THRUM_SHARED_CONFIG_INIT;
    const size_t page = thi_page_size();
    if (config == NULL)
        config = &defaults;
    const size_t max = config->max_size != 0 ? config->max_size : THRUM_SHARED_MAX_SIZE;
    const size_t size = config->size > SMALLEST ? config->size : SMALLEST;
    if (arena == NULL || !THI_IS_CONFIG(config) || max > SIZE_MAX / 2 || size > max)
        return EINVAL;
    if (config->name != NULL && !is_arenas_name(config->name))
        return EINVAL;
    int err = EAGAIN;
    while (err == EAGAIN)
        err = create(arena, config->name, round_up(size, page), round_up(max, page));
    return err;
}

thi_heap_t *thi_arena_look(int fd, size_t page, int *err)
{
    void *base = NULL;
    size_t size = 0;
    *err = thi_segment_size(fd, &size);
    if (*err == 0 && size < SMALLEST)
        *err = EINVAL;
    if (*err == 0)
        *err = thi_segment_map(fd, page, &base);
    if (*err != 0)
        return NULL;
    thi_heap_t *heap = base;
    /* A2: acquire; pairs with R2. */
    if (thi_load_acquire(&heap->magic) == THI_ARENA_MAGIC && heap->version == THI_HEAP_VERSION)
        return heap;
    thi_pages_unmap(base, page);
    *err = EINVAL;
    return NULL;
}

/* It can be mapped, and what it says is there is: `end` first, since that follows the size of the file. */
static bool is_possible(const thi_heap_t *heap, int fd, size_t page)
{
    /* A3: acquire; pairs with R1 of arena_heap.c. */
    const uint64_t end = thi_load_acquire(&heap->end);
    size_t size = 0;
    return heap->max % page == 0 && heap->max <= SIZE_MAX / 2 && end <= heap->max &&
           thi_segment_size(fd, &size) == 0 && end <= size;
}

/* The header of what `fd` is a descriptor of. */
static int examine(int fd, size_t *max)
{
    const size_t page = thi_page_size();
    int err = 0;
    thi_heap_t *heap = thi_arena_look(fd, page, &err);
    if (heap == NULL)
        return err;
    *max = (size_t)heap->max;
    if (thi_load_acquire(&heap->state) != THI_ARENA_READY || !is_possible(heap, fd, page))
        err = EINVAL;
    thi_pages_unmap(heap, page);
    return err;
}

static bool is_ready(int fd, void *arg)
{
    size_t max = 0;
    (void)arg;
    return examine(fd, &max) != EINVAL; /* what else there is to say is said when it is opened */
}

int thrum_shared_open(thrum_shared_t **arena, const char *name)
{
    char link[sizeof THI_ARENA_LINK + THRUM_SHARED_NAME_MAX] = THI_ARENA_LINK;
    size_t max = 0;
    if (arena == NULL || !is_arenas_name(name))
        return EINVAL;
    int fd = -1;
    thi_arena_link_to(link, name);
    int err = thi_segment_find(link, is_ready, NULL, &fd);
    if (err != 0)
        return err;
    err = examine(fd, &max);
    if (err == 0)
        err = attach(arena, fd, max);
    if (err != 0)
        thi_fd_close(fd);
    return err;
}

int thrum_shared_open_fd(thrum_shared_t **arena, int fd)
{
    size_t max = 0;
    int own = -1;
    if (arena == NULL)
        return EINVAL;
    int err = examine(fd, &max);
    if (err == 0)
        err = thi_segment_duplicate(fd, &own);
    if (err != 0)
        return err;
    err = attach(arena, own, max);
    if (err != 0)
        thi_fd_close(own);
    return err;
}

void thrum_shared_destroy(thrum_shared_t *arena)
{
    if (arena == NULL)
        return;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_pages_unmap(arena->heap, arena->max);
    thi_fd_close(arena->fd);
    thi_cancel_restore(cancel);
    thi_free(arena, sizeof *arena);
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * Allocating
 */

/* What a block of that many bytes takes; 0: more than there can be. */
static uint64_t block_size(const thrum_shared_t *arena, size_t size)
{
    if (size == 0 || size > arena->max)
        return 0;
    return round_up(size + sizeof(thi_piece_t), THI_HEAP_UNIT);
}

/* Under the guard: there will be a block of that size, or false. Ahead of need first; if the system has not got
 * that much, just what is needed. */
static bool grow(const thrum_shared_t *arena, uint64_t size)
{
    thi_heap_t *heap = arena->heap;
    const size_t page = thi_page_size();
    const size_t from = round_up((size_t)heap->end, page);
    const size_t tail = (size_t)thi_heap_tail(heap);
    const size_t need = size > tail ? (size_t)size - tail : THI_HEAP_UNIT;
    const size_t least = round_up((size_t)heap->end + need, page);
    size_t ahead = from / 4 < PIECE_MIN ? PIECE_MIN : from / 4 > PIECE_MAX ? PIECE_MAX : from / 4;
    size_t most = round_up(from + ahead, page);
    if (most > arena->max)
        most = arena->max;
    if (least > arena->max)
        return false;
    if (most < least)
        most = least;
    thi_death_point("arena: about to grow");
    if (thi_segment_grow(arena->fd, from, most) != 0) {
        most = least;
        if (thi_segment_grow(arena->fd, from, most) != 0)
            return false;
    }
    thi_death_point("arena: grown");
    thi_heap_extend(heap, most);
    return true;
}

uint64_t thi_arena_alloc(const thrum_shared_t *arena, size_t size, uint64_t slot)
{
    thi_heap_t *heap = arena->heap;
    const uint64_t whole = block_size(arena, size);
    if (whole == 0)
        return 0;
    uint64_t memory = thi_heap_alloc(heap, whole, slot);
    if (THI_UNLIKELY(memory == 0) && grow(arena, whole))
        memory = thi_heap_alloc(heap, whole, slot);
    return memory;
}

static uint64_t allocate(const thrum_shared_t *arena, size_t size, uint64_t slot)
{
    thi_heap_lock(arena->heap);
    const uint64_t memory = thi_arena_alloc(arena, size, slot);
    thi_heap_unlock(arena->heap);
    return memory;
}

int thi_shared_alloc_into(thrum_shared_t *arena, size_t size, uint64_t *slot)
{
    return allocate(arena, size, thrum_shared_offset(arena, slot)) != 0 ? 0 : ENOMEM;
}

void thi_shared_free_from(thrum_shared_t *arena, uint64_t *slot, uint64_t next)
{
    thi_heap_lock(arena->heap);
    thi_heap_free_from(arena->heap, thrum_shared_offset(arena, slot), next);
    thi_heap_unlock(arena->heap);
}

int thrum_shared_alloc(thrum_shared_t *arena, size_t size, void **memory)
{
    if (arena == NULL || memory == NULL || size == 0)
        return EINVAL;
    const uint64_t block = allocate(arena, size, 0);
    if (block == 0)
        return ENOMEM;
    *memory = memset(thi_shared_at(arena->heap, block), 0, size);
    return 0;
}

int thrum_shared_free(thrum_shared_t *arena, void *memory)
{
    if (arena == NULL)
        return EINVAL;
    if (memory == NULL)
        return 0;
    const uint64_t block = thrum_shared_offset(arena, memory);
    int err = EINVAL;
    thi_heap_lock(arena->heap);
    if (thi_heap_is_block(arena->heap, block)) {
        thi_heap_free(arena->heap, block);
        err = 0;
    }
    thi_heap_unlock(arena->heap);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * What there is to know
 */

uint64_t thrum_shared_offset(const thrum_shared_t *arena, const void *memory)
{
    if (arena == NULL)
        return 0;
    const uintptr_t base = (uintptr_t)arena->heap, address = (uintptr_t)memory;
    return address > base && address - base < arena->max ? address - base : 0;
}

void *thrum_shared_pointer(const thrum_shared_t *arena, uint64_t offset)
{
    if (arena == NULL || offset == 0 || offset >= arena->max)
        return NULL;
    return thi_shared_at(arena->heap, offset);
}

void *thi_shared_base(const thrum_shared_t *arena)
{
    return arena->heap;
}

size_t thi_shared_room(const thrum_shared_t *arena, uint64_t block)
{
    const thi_piece_t *piece = thi_piece_of(arena->heap, block);
    return (size_t)(piece->size & ~UINT64_C(1)) - sizeof *piece;
}

int thrum_shared_fd(const thrum_shared_t *arena)
{
    return arena != NULL ? arena->fd : -1;
}

size_t thrum_shared_size(const thrum_shared_t *arena)
{
    return arena != NULL ? (size_t)thi_load_relaxed(&arena->heap->end) : 0;
}

size_t thrum_shared_used(const thrum_shared_t *arena)
{
    return arena != NULL ? (size_t)(thi_load_relaxed(&arena->heap->used) + THI_HEAP_FIRST) : 0;
}

size_t thrum_shared_max_size(const thrum_shared_t *arena)
{
    return arena != NULL ? arena->max : 0;
}

bool thi_shared_sound(thrum_shared_t *arena)
{
    thi_heap_lock(arena->heap);
    const bool sound = thi_heap_sound(arena->heap);
    thi_heap_unlock(arena->heap);
    return sound;
}
