#include "child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "harness.h"

namespace bench
{

namespace
{

constexpr int patience_ms = 20000;

[[noreturn]] void fail(const std::string &message)
{
    throw std::runtime_error(message);
}

/* In the child. A group of its own: what it forked can be ended with it. */
[[noreturn]] void become(char *const *arguments, int cpu, int in, int out)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(cpu), &one);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* for those that do not look at their input */
    if (sched_setaffinity(0, sizeof one, &one) == 0 && dup2(in, STDIN_FILENO) >= 0 &&
        dup2(out, STDOUT_FILENO) >= 0)
        execv(arguments[0], arguments);
    _exit(127);
}

sockaddr_in loopback(int port)
{
    sockaddr_in addr = {};
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons(static_cast<std::uint16_t>(port));
    return addr;
}

} // namespace

std::string installed(const std::string &program)
{
    const char *path = std::getenv("PATH");
    std::string folders = std::string(path != nullptr ? path : "") + ":/usr/sbin:/usr/local/sbin:";
    for (std::size_t begin = 0, end; (end = folders.find(':', begin)) != std::string::npos;
         begin = end + 1) {
        std::string file = folders.substr(begin, end - begin) + "/" + program;
        if (end != begin && access(file.c_str(), X_OK) == 0)
            return file;
    }
    return "";
}

Folder::Folder() : path((std::filesystem::temp_directory_path() / "thrum-bench-XXXXXX").string())
{
    must(mkdtemp(path.data()) != nullptr);
}

Folder::~Folder()
{
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
}

Child::Child(const Command &command, int cpu)
    : name(std::filesystem::path(command[0]).filename().string())
{
    int in[2];
    int out[2];
    std::vector<char *> arguments;
    for (const std::string &word : command)
        arguments.push_back(const_cast<char *>(word.c_str()));
    arguments.push_back(nullptr);
    must(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    id = fork();
    must(id >= 0);
    if (id == 0)
        become(arguments.data(), cpu, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    to = in[1];
    from = out[0];
}

Child::~Child()
{
    close(to);
    if (!ended) {
        kill(id, SIGTERM);
        if (!await_end(5000)) {
            kill(-id, SIGKILL);
            waitpid(id, nullptr, 0);
        }
    }
    close(from);
}

bool Child::await_end(int ms)
{
    for (int i = 0; !ended; i++) {
        const pid_t pid = waitpid(id, &status, WNOHANG);
        must(pid == 0 || pid == id);
        ended = pid == id;
        if (!ended && i == ms)
            return false;
        if (!ended)
            sleep_ms(1);
    }
    return true;
}

/* false: the end */
bool Child::read_some(std::string *text)
{
    char data[4096];
    pollfd fd = {from, POLLIN, 0};
    if (poll(&fd, 1, patience_ms) <= 0)
        fail(name + " says nothing");
    const ssize_t n = read(from, data, sizeof data);
    if (n > 0)
        text->append(data, static_cast<std::size_t>(n));
    return n > 0;
}

int Child::announced_port()
{
    std::string line;
    while (line.find('\n') == std::string::npos)
        if (!read_some(&line))
            fail(name + " ended at once");
    return std::atoi(line.c_str());
}

void Child::await_listener(int port)
{
    const sockaddr_in addr = loopback(port);
    for (int i = 0; i < patience_ms; i++) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(fd >= 0);
        const bool there = connect(fd, reinterpret_cast<const sockaddr *>(&addr), sizeof addr) == 0;
        close(fd);
        if (there)
            return;
        if (await_end(0))
            fail(name + " ended at once");
        sleep_ms(1);
    }
    fail(name + " does not listen");
}

std::string Child::output()
{
    std::string text;
    while (read_some(&text)) {
    }
    if (!await_end(patience_ms))
        fail(name + " does not end");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(name + " failed: " + text);
    return text;
}

int free_port()
{
    sockaddr_in addr = loopback(0);
    socklen_t size = sizeof addr;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, reinterpret_cast<sockaddr *>(&addr), sizeof addr) == 0 &&
         getsockname(fd, reinterpret_cast<sockaddr *>(&addr), &size) == 0);
    close(fd);
    return ntohs(addr.sin_port);
}

} // namespace bench
