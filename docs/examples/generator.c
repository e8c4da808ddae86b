/*
 * Generators: functions that give one value after the other and keep their place in between. One walks a
 * tree, recursively, which would have to be turned inside out as a callback or an iterator; another takes
 * what it gives and lets some of it through. Who has seen enough releases the generator: it is ended where
 * it stands, and what it has deferred is called.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/cancel.h>
#include <thrum/coroutine.h>
#include <thrum/diagnosis.h>

struct node {
    int key;
    struct node *left;
    struct node *right;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Yields from any depth: the coroutine has a stack of its own. */
static void walk(struct node *node)
{
    if (node == NULL)
        return;
    walk(node->left);
    thrum_coro_yield(node);
    walk(node->right);
}

static int in_order(void *arg, void **result) /* a generator of nodes */
{
    (void)result;
    walk(arg);
    return 0;
}

static int odd_ones(void *arg, void **result) /* a generator over a generator */
{
    thrum_coro_t *nodes = arg;
    void *node = NULL;
    int err = 0;
    (void)result;
    while ((err = thrum_coro_resume(nodes, NULL, &node)) == 0) {
        if (((struct node *)node)->key % 2 != 0)
            thrum_coro_yield(node);
    }
    return err == ENODATA ? 0 : err; /* ENODATA: it has returned */
}

static void say(void *arg)
{
    printf("%s\n", (const char *)arg);
}

static int powers(void *arg, void **result) /* a generator that never ends by itself */
{
    (void)result;
    must(thrum_defer(say, "powers: ended, and cleaned up"));
    for (long n = 1; !thrum_cancelled(); n *= *(const int *)arg)
        thrum_coro_yield(&n);
    return ECANCELED;
}

int main(void)
{
    struct node nodes[] = {{1, NULL, NULL},
                           {3, NULL, NULL},
                           {5, NULL, NULL},
                           {2, &nodes[0], &nodes[1]},
                           {4, &nodes[3], &nodes[2]}};
    thrum_coro_t *all = NULL;
    thrum_coro_t *odd = NULL;
    void *value = NULL;
    int err = 0;
    must(thrum_coro_create(&all, in_order, &nodes[4], NULL));
    must(thrum_coro_create(&odd, odd_ones, all, NULL));
    while ((err = thrum_coro_resume(odd, NULL, &value)) == 0)
        printf("odd: %d\n", ((struct node *)value)->key);
    printf("then: %s\n", thrum_strerror(err));
    printf("it returned: %s\n", thrum_strerror(thrum_coro_result(odd, NULL)));
    thrum_coro_release(odd);
    thrum_coro_release(all);

    int base = 3;
    thrum_coro_t *endless = NULL;
    must(thrum_coro_create(&endless, powers, &base, NULL));
    do {
        must(thrum_coro_resume(endless, NULL, &value));
        printf("power: %ld\n", *(long *)value);
    } while (*(long *)value < 81);
    thrum_coro_release(endless); /* it is in a yield: that returns NULL, and it ends */
    return 0;
}
