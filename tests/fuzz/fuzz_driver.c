/*
 * Feeds a fuzz program where there is no libFuzzer: a fixed number of inputs made from seeds, or files.
 *
 *     fuzz_queue                     what the tests run
 *     fuzz_queue 100000 1            so many inputs, from that seed on
 *     fuzz_queue 1 1234              the input of one seed, which a failure names
 *     fuzz_queue crash-0123          what libFuzzer has left
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#define INPUTS 3000u
#define INPUT_MAX 600u

extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static volatile uint64_t seed_of_input;

static void name_input(void)
{
    char text[64];
    const int length =
        snprintf(text, sizeof text, "the input of seed %llu\n", (unsigned long long)seed_of_input);
    if (write(STDERR_FILENO, text, (size_t)length) != length)
        _exit(2);
}

static void on_signal(int signal)
{
    (void)signal;
    name_input(); /* then it goes the way of the signal */
}

static void name_input_of_failures(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(name_input);
    const size_t n = __sanitizer_set_death_callback != NULL ? 1 : sizeof signals / sizeof *signals;
    for (size_t i = 0; i < n; i++)
        sigaction(signals[i], &action, NULL);
}

/* splitmix64 */
static uint64_t chance(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static void run_seed(uint64_t seed)
{
    uint8_t data[INPUT_MAX];
    uint64_t state = seed;
    const size_t size = chance(&state) % (INPUT_MAX + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(chance(&state) >> 32);
    seed_of_input = seed;
    LLVMFuzzerTestOneInput(data, size);
}

static void run_file(FILE *file)
{
    static uint8_t data[1u << 20];
    const size_t size = fread(data, 1, sizeof data, file);
    LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file != NULL) {
        run_file(file);
        fclose(file);
        return 0;
    }
    const uint64_t inputs = argc > 1 ? strtoull(argv[1], NULL, 10) : INPUTS;
    const uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    name_input_of_failures();
    for (uint64_t i = 0; i < inputs; i++)
        run_seed(first + i);
    printf("%llu inputs\n", (unsigned long long)inputs);
    return 0;
}
