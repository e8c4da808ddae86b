#ifndef THI_GROUP_H
#define THI_GROUP_H

#include "task/task.h"

/* Runs a task of the group, or, when the group is cancelled, does not; and counts it as ended. The group
 * may be gone afterwards. */
thi_outcome_t thi_group_run(thrum_group_t *g, const thi_task_t *task, thi_strand_t *self);

/* A task of the group will never run: the group fails with that error, and the task counts as ended. */
void thi_group_drop(thrum_group_t *g, int error);

#endif /* THI_GROUP_H */
