/*
 * Programs that a benchmark starts, on a processor of their own. Who starts one holds its standard input, so that a
 * server that ends with it outlives nobody; it is told to end, by its number, when its Child ends.
 */
#ifndef THRUM_BENCH_CHILD_H
#define THRUM_BENCH_CHILD_H

#include <sys/types.h>

#include <string>
#include <vector>

namespace bench
{

using Command = std::vector<std::string>;

/* The path of a program that is installed; empty: it is not. */
std::string installed(const std::string &program);

/* A folder of a name of its own, removed with the files in it. */
class Folder
{
  public:
    Folder();
    ~Folder();
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;

    std::string path;
};

/* What goes wrong is thrown, as std::runtime_error. */
class Child
{
  public:
    Child(const Command &command, int cpu);
    ~Child();
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;

    pid_t pid() const { return id; }
    int announced_port();          /* a line of its output */
    void await_listener(int port); /* until somebody listens there */
    std::string output();          /* all of it: until the process has ended, successfully */

  private:
    bool read_some(std::string *text);
    bool await_end(int ms);

    std::string name;
    pid_t id = -1;
    bool ended = false;
    int status = 0;
    int to = -1;
    int from = -1;
};

/* A port of 127.0.0.1 that nobody uses. */
int free_port();

} // namespace bench

#endif /* THRUM_BENCH_CHILD_H */
