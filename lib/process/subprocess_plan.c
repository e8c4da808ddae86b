/*
 * What a subprocess is to be made of: the paths to try, the environment, places for descriptors. All of it is
 * made before the child is, which may allocate nothing.
 *
 * One block of memory: pointers to paths, pointers to the environment, descriptors, text of the paths.
 */
#include <string.h>

#include "process/subprocess.h"

extern char **environ; /* NOLINT: the C library's */

#define DEFAULT_PATH "/bin:/usr/bin"

static const char *const nothing[] = {NULL};

static size_t length_of(const char *const *list)
{
    size_t n = 0;
    while (list[n] != NULL)
        n++;
    return n;
}

/* ------------------------------------------------------------------------------------------------
 * The environment
 */

static const char *const *base_of(const thrum_subprocess_config_t *config)
{
    if (config->env != NULL)
        return config->env;
    return environ != NULL ? (const char *const *)environ : nothing;
}

/* Of "NAME=value" and of "NAME". */
static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool is_named(const char *variable, const char *name, size_t length)
{
    return strncmp(variable, name, length) == 0 && variable[length] == '=';
}

static size_t take_away(const char **env, size_t n, const char *name, size_t length)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_named(env[i], name, length))
            env[kept++] = env[i];
    }
    return kept;
}

/* There is room for all of both, and the end. */
static void change(const char **env, const char *const *base, const char *const *changes)
{
    size_t n = length_of(base);
    memcpy(env, base, n * sizeof *env);
    for (const char *const *at = changes; *at != NULL; at++) {
        const size_t length = name_length(*at);
        n = take_away(env, n, *at, length);
        if ((*at)[length] == '=')
            env[n++] = *at;
    }
    env[n] = NULL;
}

static bool are_changes(const char *const *changes)
{
    for (const char *const *at = changes; *at != NULL; at++) {
        if (name_length(*at) == 0)
            return false;
    }
    return true;
}

static const char *value_of(const char *const *env, const char *name)
{
    const size_t length = strlen(name);
    for (; *env != NULL; env++) {
        if (is_named(*env, name, length))
            return *env + length + 1;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Where the program may be
 */

static bool is_path(const char *program)
{
    return strchr(program, '/') != NULL;
}

static size_t folders_of(const char *path)
{
    size_t n = 1;
    for (; *path != '\0'; path++)
        n += *path == ':';
    return n;
}

/* An empty folder is the one that the program begins in. */
static void list_paths(const char **paths, char *text, const char *path, const char *program)
{
    const size_t program_size = strlen(program) + 1;
    while (true) {
        const size_t length = strcspn(path, ":");
        *paths++ = text;
        memcpy(text, path, length);
        text += length;
        if (length != 0)
            *text++ = '/';
        memcpy(text, program, program_size);
        text += program_size;
        if (path[length] == '\0')
            break;
        path += length + 1;
    }
    *paths = NULL;
}

/* ------------------------------------------------------------------------------------------------
 * The block
 */

typedef struct need {
    const char *const *base;
    const char *program;
    const char *path;
    size_t paths;
    size_t env; /* 0: the base as it is */
    size_t fds;
    size_t text;
} need_t;

static void lay_out(thi_plan_t *plan, const need_t *need, const thrum_subprocess_config_t *config)
{
    const char **paths = plan->memory;
    const char **env = paths + need->paths;
    thi_exec_fd_t *fds = (void *)(env + need->env);
    if (need->path == NULL) {
        paths[0] = need->program;
        paths[1] = NULL;
    } else {
        list_paths(paths, (char *)(fds + need->fds), need->path, need->program);
    }
    plan->exec.paths = paths;
    plan->exec.env = need->base;
    plan->exec.fds = fds;
    if (need->env != 0) {
        change(env, need->base, config->env_changes);
        plan->exec.env = env;
    }
}

/* The program's own PATH, as it will be: the last change to it counts. */
static const char *path_for(const need_t *need, const thrum_subprocess_config_t *config)
{
    const char *path = value_of(need->base, "PATH");
    const char *const *changes = config->env_changes != NULL ? config->env_changes : nothing;
    for (; *changes != NULL; changes++) {
        if (is_named(*changes, "PATH", 4))
            path = *changes + 5;
        else if (strcmp(*changes, "PATH") == 0)
            path = NULL;
    }
    return path != NULL ? path : DEFAULT_PATH;
}

int thi_plan_make(thi_plan_t *plan, const char *const *argv,
                  const thrum_subprocess_config_t *config)
{
    need_t need = {.base = base_of(config), .paths = 2, .fds = THI_STREAMS + config->pass_count};
    need.program = config->program != NULL ? config->program : argv[0];
    if (*need.program == '\0')
        return ENOENT;
    if (config->env_changes != NULL && !are_changes(config->env_changes))
        return EINVAL;
    if (!is_path(need.program)) {
        need.path = path_for(&need, config);
        need.paths = folders_of(need.path) + 1;
        need.text = strlen(need.path) + need.paths * (strlen(need.program) + 2);
    }
    if (config->env_changes != NULL)
        need.env = length_of(need.base) + length_of(config->env_changes) + 1;
    plan->size =
        (need.paths + need.env) * sizeof(char *) + need.fds * sizeof(thi_exec_fd_t) + need.text;
    plan->memory = thi_alloc(plan->size);
    if (plan->memory == NULL)
        return ENOMEM;
    plan->exec =
        (thi_exec_t){.argv = argv,
                     .dir = config->dir,
                     .keep_ignored = config->keep_ignored,
                     .group = config->group == THRUM_SUBPROCESS_OWN_GROUP     ? THI_EXEC_GROUP
                              : config->group == THRUM_SUBPROCESS_OWN_SESSION ? THI_EXEC_SESSION
                                                                              : THI_EXEC_SAME};
    lay_out(plan, &need, config);
    return 0;
}

void thi_plan_end(thi_plan_t *plan)
{
    thi_free(plan->memory, plan->size);
}
