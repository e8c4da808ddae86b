/*
 * Fan-out, as one downloads pages and parses them, here from files: each page is fetched by a task, the
 * fetch is followed by a parse, and the parse by a callback that files the answer. All pages are under way
 * at once; a page that is missing disturbs none of the others.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define PAGES 5
#define MISSING 3 /* nobody has written that one */
struct page {
    char path[64];
    char *text; /* from the fetch to the parse */
    int links;
    int err;
};

static struct page pages[PAGES];
static thrum_waitgroup_t pending = THRUM_WAITGROUP_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int fetch(void *arg, void **result)
{
    struct page *page = arg;
    FILE *file = fopen(page->path, "r");
    if (file == NULL)
        return errno;
    page->text = calloc(1, 1024);
    const size_t size = page->text != NULL ? fread(page->text, 1, 1023, file) : 0;
    fclose(file);
    *result = page;
    return size != 0 ? 0 : EIO;
}

/* Called once the fetch has ended, however it ended: an error is handed on. */
static int parse(thrum_future_t *fetched, void *arg, void **result)
{
    void *value = NULL;
    const int err = thrum_future_result(fetched, &value);
    (void)arg;
    if (err != 0)
        return err;
    struct page *page = value;
    for (const char *at = page->text; (at = strstr(at, "<a ")) != NULL; at++)
        page->links++;
    *result = page;
    return 0;
}

static void file_answer(thrum_future_t *parsed, void *arg)
{
    struct page *page = arg;
    page->err = thrum_future_result(parsed, NULL);
    free(page->text);
    must(thrum_waitgroup_done(&pending));
}

static void write_pages(const char *folder)
{
    for (int i = 0; i < PAGES; i++) {
        snprintf(pages[i].path, sizeof pages[i].path, "%s/%d.html", folder, i);
        FILE *file = i != MISSING ? fopen(pages[i].path, "w") : NULL;
        for (int link = 0; file != NULL && link <= i * i; link++)
            fprintf(file, "<a href=%d>\n", link);
        if (file != NULL)
            fclose(file);
    }
}

int main(void)
{
    char folder[] = "/tmp/fan_out_XXXXXX";
    thrum_executor_t *pool = NULL;
    must(mkdtemp(folder) != NULL ? 0 : errno);
    write_pages(folder);
    must(thrum_thread_pool_create(&pool, NULL)); /* as many workers as processors */

    for (int i = 0; i < PAGES; i++) {
        thrum_future_t *fetched = NULL;
        thrum_future_t *parsed = NULL;
        must(thrum_waitgroup_add(&pending, 1));
        must(thrum_executor_submit(pool, fetch, &pages[i], &fetched));
        must(thrum_future_then(fetched, pool, parse, NULL, &parsed));
        must(thrum_future_add_done_callback(parsed, file_answer, &pages[i]));
        thrum_future_release(fetched);
        thrum_future_release(parsed);
    }
    must(thrum_waitgroup_wait_until(&pending, thrum_after(THRUM_S(10))));
    thrum_executor_destroy(pool);

    for (int i = 0; i < PAGES; i++) {
        printf("page %d: %s, %d links\n", i, thrum_strerror(pages[i].err), pages[i].links);
        unlink(pages[i].path);
    }
    rmdir(folder);
    return 0;
}
