/*
 * LIFO and PRIORITY: as the FIFO's stress. Items of one producer are equals, and leave in order.
 */
#include "stress/queue_stress.h"

#define ROAD_CASE(name, ...)                                                                       \
    static void name(thrum_time_t until)                                                           \
    {                                                                                              \
        const struct road road = {__VA_ARGS__};                                                    \
        traffic_run(&road, until);                                                                 \
    }

ROAD_CASE(lifo_of_1, THRUM_LIFO, 1, true, false)
ROAD_CASE(lifo_of_7, THRUM_LIFO, 7, false, false)
ROAD_CASE(lifo_unbounded, THRUM_LIFO, 0, false, false)
ROAD_CASE(lifo_aborted, THRUM_LIFO, 64, false, true)
ROAD_CASE(priority_of_3, THRUM_PRIORITY, 3, true, false)
ROAD_CASE(priority_of_64, THRUM_PRIORITY, 64, true, false)
ROAD_CASE(priority_unbounded, THRUM_PRIORITY, 0, true, false)
ROAD_CASE(priority_aborted, THRUM_PRIORITY, 0, true, true)

static void lifo_jobs(thrum_time_t until)
{
    const struct road road = {THRUM_LIFO, 7, false, false};
    office_run(&road, until);
}

static void priority_jobs(thrum_time_t until)
{
    const struct road road = {THRUM_PRIORITY, 0, false, false};
    office_run(&road, until);
}

static const struct stress_case cases[] = {
    {"LIFO of 1", lifo_of_1},
    {"LIFO of 7", lifo_of_7},
    {"LIFO, unbounded", lifo_unbounded},
    {"LIFO, aborted", lifo_aborted},
    {"LIFO, jobs", lifo_jobs},
    {"PRIORITY of 3", priority_of_3},
    {"PRIORITY of 64", priority_of_64},
    {"PRIORITY, unbounded", priority_unbounded},
    {"PRIORITY, aborted", priority_aborted},
    {"PRIORITY, jobs", priority_jobs},
};

STRESS_MAIN(cases)
