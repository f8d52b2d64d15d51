/* Makes the N-th call of one system call fail, in one process or in all but some.
 *
 * Preloaded into the program under test and everything that it forks or executes. What is to fail
 * stands in a file that all of them have mapped (struct control; fault.py writes it), so one
 * program can go through all faults, one after the other. Reads and writes count on sockets alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORK = 1, SOCKETPAIR, SENDMSG, SEND, RECVMSG, RECV, POLL, READ, WRITE, DUP, PIDFD, WAITID,
       WAITPID, EPOLL, OPEN, SETSOCKOPT, PIPE, EXEC, FCHDIR, SETSID, CLOSE_RANGE };
#define SHORT (-1)

struct control {
    volatile int armed;   /* 0: nothing fails */
    int call, error;      /* which call; errno, or SHORT */
    int nth;              /* which of them, from 1 */
    int pid, but1, but2;  /* in this process; if 0, in all but these two */
    volatile int count, fired;
};

static struct control *control;
static pid_t (*real_vfork)(void);

__attribute__((constructor)) static void begin(void)
{
    real_vfork = (pid_t (*)(void))dlsym(RTLD_NEXT, "vfork");
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

static int hit(int call)
{
    if (!control || !control->armed || control->call != call)
        return 0;
    int pid = getpid();
    if (control->pid ? pid != control->pid : pid == control->but1 || pid == control->but2)
        return 0;
    if (__sync_add_and_fetch(&control->count, 1) != control->nth)
        return 0;
    control->fired = pid;
    return control->error;
}

static int is_socket(int fd, int type)
{
    int found = 0;
    socklen_t size = sizeof found;
    return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &found, &size) && (!type || found == type);
}

/* Whether a call on this fd may fail that way: a blocking socket is never "full". */
static int fails(int call, int fd, int flags)
{
    int error;
    if (!control || !control->armed || !is_socket(fd, 0))
        return 0;
    int waits = !(flags & MSG_DONTWAIT) && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
    if (control->error == EAGAIN && waits)
        return 0;
    if (control->error == EINTR && !waits)
        return 0;
    /* What keeps messages whole is never short, nor is a small write that does not block. */
    if (control->error == SHORT && (!is_socket(fd, SOCK_STREAM) || !waits))
        return 0;
    error = hit(call);
    if (error == EPIPE || error == ECONNRESET)
        shutdown(fd, SHUT_RDWR); /* and from now on it is so */
    if (error > 0)
        errno = error;
    return error;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(call) do { int e_ = hit(call); if (e_ > 0) { errno = e_; return -1; } } while (0)

pid_t fork(void) { REAL(fork); FAIL(FORK); return real(); }
/* The last call is a jump (-O2): a frame of this library would be gone when the parent goes on. */
pid_t vfork(void) { FAIL(FORK); return real_vfork(); }
int fchdir(int d) { REAL(fchdir); FAIL(FCHDIR); return real(d); }
pid_t setsid(void) { REAL(setsid); FAIL(SETSID); return real(); }
int socketpair(int a, int b, int c, int d[2]) { REAL(socketpair); FAIL(SOCKETPAIR); return real(a, b, c, d); }
int pipe2(int p[2], int f) { REAL(pipe2); FAIL(PIPE); return real(p, f); }
int setsockopt(int a, int b, int c, const void *d, socklen_t e) { REAL(setsockopt); FAIL(SETSOCKOPT); return real(a, b, c, d, e); }
int epoll_create1(int f) { REAL(epoll_create1); FAIL(EPOLL); return real(f); }
int execve(const char *p, char *const a[], char *const e[]) { REAL(execve); FAIL(EXEC); return real(p, a, e); }
int poll(struct pollfd *p, nfds_t n, int t) { REAL(poll); FAIL(POLL); return real(p, n, t); }
int waitid(idtype_t t, id_t i, siginfo_t *s, int o) { REAL(waitid); FAIL(WAITID); return real(t, i, s, o); }
pid_t waitpid(pid_t p, int *s, int o) { REAL(waitpid); FAIL(WAITPID); return real(p, s, o); }

ssize_t send(int fd, const void *b, size_t n, int f)
{
    REAL(send);
    int e = fails(SEND, fd, f);
    return e > 0 ? -1 : real(fd, b, e && n > 7 ? 7 : n, f);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int f)
{
    REAL(sendmsg);
    int e = fails(SENDMSG, fd, f);
    if (e > 0)
        return -1;
    if (!e)
        return real(fd, m, f);
    struct msghdr part = *m;
    struct iovec one = m->msg_iov[0];
    if (one.iov_len > 7)
        one.iov_len = 7;
    part.msg_iov = &one;
    part.msg_iovlen = 1;
    return real(fd, &part, f);
}

ssize_t recv(int fd, void *b, size_t n, int f)
{
    REAL(recv);
    int e = fails(RECV, fd, f);
    return e > 0 ? -1 : real(fd, b, e && n > 7 ? 7 : n, e ? f & ~MSG_WAITALL : f);
}

ssize_t recvmsg(int fd, struct msghdr *m, int f)
{
    REAL(recvmsg);
    int e = fails(RECVMSG, fd, f);
    if (e > 0)
        return -1;
    if (e && m->msg_iovlen && m->msg_iov[0].iov_len > 7) {
        m->msg_iov[0].iov_len = 7;
        m->msg_iovlen = 1;
        f &= ~MSG_WAITALL;
    }
    return real(fd, m, f);
}

ssize_t read(int fd, void *b, size_t n)
{
    REAL(read);
    int e = control && control->armed ? fails(READ, fd, 0) : 0;
    return e > 0 ? -1 : real(fd, b, e && n > 7 ? 7 : n);
}

ssize_t write(int fd, const void *b, size_t n)
{
    REAL(write);
    /* One byte is the interpreter's own, told to its wakeup fd: that one is full or takes it. */
    int e = control && control->armed && n > 1 ? fails(WRITE, fd, 0) : 0;
    return e > 0 ? -1 : real(fd, b, e && n > 7 ? 7 : n);
}

static int duplicates(int command) { return command == F_DUPFD || command == F_DUPFD_CLOEXEC; }

#define FCNTL(name) \
    int name(int fd, int command, ...) \
    { \
        static int (*real)(int, int, ...); \
        va_list rest; \
        va_start(rest, command); \
        void *word = va_arg(rest, void *); \
        va_end(rest); \
        if (!real) real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name); \
        if (duplicates(command)) FAIL(DUP); \
        return real(fd, command, word); \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int dup2(int a, int b) { REAL(dup2); FAIL(DUP); return real(a, b); }
int dup3(int a, int b, int f) { REAL(dup3); FAIL(DUP); return real(a, b, f); }

#define OPENS(name) \
    int name(const char *path, int flags, ...) \
    { \
        static int (*real)(const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        FAIL(OPEN); \
        return real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long w[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        w[i] = va_arg(rest, long);
    va_end(rest);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
#ifdef SYS_close_range
    if (number == SYS_close_range)
        FAIL(CLOSE_RANGE);
#endif
#ifdef SYS_pidfd_open
    if (number == SYS_pidfd_open)
        FAIL(PIDFD);
#endif
    return real(number, w[0], w[1], w[2], w[3], w[4], w[5]);
}
