/*
 * Servers on one processor, and their load on another (servers/): requests a second, and how long the slowest hundredth
 * takes. What is compared is a process each: thrum's in each of its models, a loop of epoll written by hand, a thread
 * for each connection, libraries, and for their protocols nginx and redis.
 */
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "child.h"
#include "harness.h"

using namespace bench;

namespace
{

constexpr const char *topic = "server";
constexpr int busy = 50;
constexpr int many = 1000;

/* A server that listens; the folder is its own, and goes after it. */
struct Running {
    std::unique_ptr<Folder> folder;
    std::unique_ptr<Child> child;
    int port = 0;
};

struct Contender {
    std::string adapter;
    std::function<Running()> start;
};

std::string program(const std::string &name)
{
    return std::string(BENCH_SERVERS) + "/" + name;
}

int server_processor()
{
    return processors().front();
}

int load_processor()
{
    return processors().back();
}

/* ---- who there is ---- */

std::string not_installed;

void leave_out(const std::string &name)
{
    not_installed += (not_installed.empty() ? "" : ", ") + name;
}

/* One of our own programs, which say where they listen. */
Contender ours(const std::string &adapter, Command command)
{
    command[0] = program(command[0]);
    return {adapter, [command] {
                Running server;
                server.child = std::make_unique<Child>(command, server_processor());
                server.port = server.child->announced_port();
                return server;
            }};
}

Contender thrum_model(const std::string &model, const std::string &protocol, int workers,
                      int processes)
{
    const bool first = model == "coroutines";
    return ours(first ? "thrum" : "thrum_" + model,
                {"thrum_server", "--model", model, "--protocol", protocol, "--workers",
                 std::to_string(workers), "--processes", std::to_string(processes)});
}

Contender coroutines(const std::string &protocol)
{
    return thrum_model("coroutines", protocol, 1, 1);
}

/* Where a thread has one connection at a time, there are as many: otherwise some would wait for the others' ends. */
std::vector<Contender> other_models(const std::string &protocol, int connections)
{
    return {thrum_model("pool", protocol, connections, 1), thrum_model("threads", protocol, 1, 1),
            thrum_model("processes", protocol, 1, 1),
            thrum_model("prefork_pool", protocol, connections, 2),
            thrum_model("prefork_coroutines", protocol, 1, 2)};
}

Contender raw_epoll(const std::string &protocol)
{
    return ours("epoll", {"epoll_server", "--protocol", protocol});
}

bool built(const std::string &server)
{
    return access(program(server).c_str(), X_OK) == 0;
}

std::vector<Contender> libraries()
{
    std::vector<Contender> found;
    if (built("uv_server"))
        found.push_back(ours("uv", {"uv_server"}));
    if (built("event_server")) {
        found.push_back(ours("libevent", {"event_server"}));
        found.push_back(ours("libevent_buffers", {"event_server", "--buffers", "yes"}));
    }
    return found;
}

Running start_nginx(const std::string &nginx)
{
    Running server;
    server.folder = std::make_unique<Folder>();
    server.port = free_port();
    const std::string folder = server.folder->path + "/";
    std::ofstream(folder + "nginx.conf")
        << "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 12000;\npid " << folder
        << "pid;\nerror_log " << folder << "errors;\nevents { worker_connections 11000; }\nhttp {\n"
        << "access_log off;\nkeepalive_requests 1000000000;\n"
        << "client_body_temp_path " << folder << "a;\nproxy_temp_path " << folder
        << "b;\nfastcgi_temp_path " << folder << "c;\nuwsgi_temp_path " << folder
        << "d;\nscgi_temp_path " << folder << "e;\ndefault_type text/plain;\n"
        << "server { listen 127.0.0.1:" << server.port
        << " backlog=4096; location / { return 200 \"hello\\n\"; } }\n}\n";
    server.child = std::make_unique<Child>(
        Command{nginx, "-e", folder + "errors", "-p", folder, "-c", folder + "nginx.conf"},
        server_processor());
    server.child->await_listener(server.port);
    return server;
}

Running start_redis(const std::string &redis)
{
    Running server;
    server.folder = std::make_unique<Folder>();
    server.port = free_port();
    server.child = std::make_unique<Child>(
        Command{redis, "--port", std::to_string(server.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--daemonize", "no", "--logfile", "/dev/null", "--dir",
                server.folder->path},
        server_processor());
    server.child->await_listener(server.port);
    return server;
}

void add_installed(std::vector<Contender> *contenders, const char *adapter, const char *name,
                   Running (*start)(const std::string &))
{
    const std::string path = installed(name);
    if (path.empty())
        leave_out(name);
    else
        contenders->push_back({adapter, [=] { return start(path); }});
}

/* ---- the load ---- */

using Figures = std::map<std::string, double>;

Figures ask(const Running &server, const std::string &protocol, int connections, int idle)
{
    const int warm_up = std::min(300, options.server_ms);
    Child load({program("server_load"), "--port", std::to_string(server.port), "--protocol",
                protocol, "--connections", std::to_string(connections), "--idle",
                std::to_string(idle), "--ms", std::to_string(options.server_ms), "--warmup-ms",
                std::to_string(warm_up), "--pid", std::to_string(server.child->pid())},
               load_processor());
    std::istringstream lines(load.output());
    Figures figures;
    std::string name;
    for (double figure = 0; lines >> name >> figure;)
        figures[name] = figure;
    return figures;
}

/* What the load had to say of it; in a window that is very short there may have been nothing to say. */
void report(benchmark::State &state, const Figures &figures)
{
    static const std::map<std::string, const char *> counters = {
        {"p99_us", "p99_us"},
        {"server_us_per_request", "processor_us_per_request"},
        {"bytes_per_idle", "bytes_per_connection"}};
    state.counters["krps"] = figures.at("requests_per_s") * 1e-3;
    for (const auto &[figure, counter] : counters)
        if (figures.count(figure) != 0)
            state.counters[counter] = figures.at(figure);
}

/* A figure of an ask: what fails is said in the report, and the others go on. */
template <class Ask>
void add_server(const Workload &w, const std::vector<Contender> &contenders, Ask ask)
{
    for (const Contender &contender : contenders)
        add_window(w, contender.adapter.c_str(), [=](benchmark::State &state) {
            for (auto _ : state) {
                state.SetIterationTime(options.server_ms * 1e-3);
                try {
                    const Running server = contender.start();
                    report(state, ask(server));
                } catch (const std::exception &failure) {
                    state.SkipWithError(failure.what());
                }
            }
        });
}

std::vector<Contender> operator+(std::vector<Contender> all, const std::vector<Contender> &more)
{
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

/* ---- the workloads ---- */

/* Fewer where a process may not have as many descriptors. */
int idle_connections()
{
    constexpr int others = 200;
    rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const rlim_t room = limit.rlim_max > others ? limit.rlim_max - others : 1;
    return static_cast<int>(std::min<rlim_t>(room, static_cast<rlim_t>(options.idle_connections)));
}

void add_echo()
{
    const Contender threads = ours("pthreads", {"thread_server"});
    const std::vector<Contender> loops =
        std::vector<Contender>{coroutines("echo"), raw_epoll("echo")} + libraries();
    add_server({topic, "server_echo_50", busy,
                "64 bytes there and back on 50 connections, each of which asks again when it has "
                "its answer. thrum's other models, and a plain thread for each connection, beside "
                "a loop."},
               loops + other_models("echo", busy) + std::vector<Contender>{threads},
               [](const Running &server) { return ask(server, "echo", busy, 0); });
    add_server({topic, "server_echo_1000", many, "The same on 1000 connections."},
               loops + std::vector<Contender>{threads},
               [](const Running &server) { return ask(server, "echo", many, 0); });
    add_server(
        {topic, "server_echo_50_idle_10k", busy,
         "The same on 50 connections while 10,000 more are open and say nothing, and the memory of "
         "the server's process that one of these takes, page tables included."},
        loops, [](const Running &server) { return ask(server, "echo", busy, idle_connections()); });
}

void add_http()
{
    std::vector<Contender> contenders = {coroutines("http"), raw_epoll("http")};
    add_installed(&contenders, "nginx", "nginx", start_nginx);
    add_server(
        {topic, "server_http_hello_50", busy,
         "GET / and a page of six bytes, on 50 connections that stay. The loop written by hand "
         "does not "
         "read what it is asked; nginx has one worker and answers out of its configuration."},
        contenders, [](const Running &server) { return ask(server, "http", busy, 0); });
}

/* Its own lines for SET and GET: "SET","123.4",... One rate of both, of which there were as many. */
Figures ask_by_redis(const std::string &redis_benchmark, const Running &server)
{
    const int requests = std::max(1000, options.server_ms * 50);
    Child load({redis_benchmark, "-p", std::to_string(server.port), "-c", std::to_string(busy),
                "-P", "1", "-n", std::to_string(requests), "-d", "16", "-t", "set,get", "--csv"},
               load_processor());
    std::istringstream lines(load.output());
    std::string line;
    double seconds = 0;
    double slowest = 0;
    int found = 0;
    while (std::getline(lines, line)) {
        double rate = 0;
        double p99 = 0;
        if (std::sscanf(line.c_str(), "\"%*[A-Z]\",\"%lf\",\"%*f\",\"%*f\",\"%*f\",\"%*f\",\"%lf\"",
                        &rate, &p99) == 2) {
            seconds += requests / rate;
            slowest = std::max(slowest, p99 * 1e3);
            found++;
        }
    }
    if (found != 2)
        throw std::runtime_error("redis-benchmark printed something else");
    return {{"requests_per_s", 2 * requests / seconds}, {"p99_us", slowest}};
}

void add_resp()
{
    std::vector<Contender> contenders = {coroutines("resp")};
    add_installed(&contenders, "redis", "redis-server", start_redis);
    add_server({topic, "server_resp_50", busy,
                "SET of 16 bytes and GET by turns, in the protocol of redis, on 50 connections."},
               contenders, [](const Running &server) { return ask(server, "resp", busy, 0); });
    const std::string redis_benchmark = installed("redis-benchmark");
    if (redis_benchmark.empty())
        return leave_out("redis-benchmark");
    add_server({topic, "server_resp_50_redis_benchmark", busy,
                "The same asked by redis-benchmark -P 1 -c 50: all SETs, then all GETs, one key."},
               contenders,
               [=](const Running &server) { return ask_by_redis(redis_benchmark, server); });
}

} // namespace

int main(int argc, char **argv)
{
    for (const char *library : {"uv", "event"})
        if (!built(std::string(library) + "_server"))
            leave_out(std::string("lib") + library);
    add_echo();
    add_http();
    add_resp();
    benchmark::AddCustomContext("not_installed", not_installed);
    return run(argc, argv, Process::with_second_thread);
}
