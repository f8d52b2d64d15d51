/* What is asked of the kernel: time, bytes and fds over sockets, the news of deaths, a fork.
 *
 * This unit looks at no object of Python. Its functions report a failure by errno, and set no
 * exception; but in `poll_now` a signal handler of Python may raise one, and in `fork_now` an audit
 * hook.
 */
#include "quick.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

uint32_t
number_at(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void
put_number(unsigned char *at, uint32_t number)
{
    at[0] = (unsigned char)(number >> 24);
    at[1] = (unsigned char)(number >> 16);
    at[2] = (unsigned char)(number >> 8);
    at[3] = (unsigned char)number;
}

int
put_decimal(char *at, unsigned long number)
{
    /* snprintf would touch seven pages that nothing else needs. */
    char digits[24];
    int count = 0, length = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count > 0)
        at[length++] = digits[--count];
    return length;
}

/* Put down a frame with a decimal number; returns its size. */
static size_t
put_frame(char *frame, int op, long number)
{
    int length = 0;
    if (number < 0)
        frame[FRAME + length++] = '-';
    length += put_decimal(frame + FRAME + length,
                          number < 0 ? 0 - (unsigned long)number : (unsigned long)number);
    frame[0] = (char)op;
    put_number((unsigned char *)frame + 1, (uint32_t)length);
    return (size_t)(FRAME + length);
}

/* Does what write_status of _shared/sockets.py does: when not all of it can be sent, the socket is
 * ended, and the owner takes the process for lost. */
static void
write_status(int fd, const char *frames, size_t size)
{
    ssize_t written = send(fd, frames, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && (errno == EPIPE || errno == ECONNRESET))
        return;
    if (written < (ssize_t)size)
        shutdown(fd, SHUT_RDWR);
}

void
tell_owner(int fd, int op, long number)
{
    char frame[FRAME + 24];
    write_status(fd, frame, put_frame(frame, op, number));
}

void
tell_exit(int fd, int pid, const siginfo_t *info)
{
    char frames[2 * (FRAME + 24)];
    size_t size = pid > 0 ? put_frame(frames, PID, pid) : 0;
    int code = info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
    write_status(fd, frames, size + put_frame(frames + size, EXIT, code));
}

typedef union {
    struct cmsghdr align;
    char space[CMSG_SPACE(MAX_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} Ancillary;

static ssize_t
receive_most(int fd, void *data, size_t size, int flags, int *fds, int *count, int most,
             struct ucred *sender)
{
    Ancillary ancillary;
    struct iovec vector = {data, size};
    size_t room = CMSG_SPACE((size_t)most * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred));
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1,
                             .msg_control = &ancillary, .msg_controllen = room};
    *count = 0;
    if (sender != NULL)
        *sender = (struct ucred){0, (uid_t)-1, (gid_t)-1};
    ssize_t got = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS && sender != NULL)
            memcpy(sender, CMSG_DATA(c), sizeof *sender);
        if (c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t found = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + *count, CMSG_DATA(c), found * sizeof(int));
        *count += (int)found;
    }
    if (message.msg_flags & MSG_CTRUNC) {
        while (*count > 0)
            close(fds[--*count]);
        errno = EMFILE;
        return -1;
    }
    return got;
}

ssize_t
receive(int fd, void *data, size_t size, int flags, int *fds, int *count, struct ucred *sender)
{
    return receive_most(fd, data, size, flags, fds, count, MAX_FDS, sender);
}

ssize_t
receive_few(int fd, void *data, size_t size, int flags, int *fds, int *count, int most)
{
    return receive_most(fd, data, size, flags, fds, count, most, NULL);
}

ssize_t
send_with_fds(int fd, const void *data, size_t size, const int *fds, int count)
{
    Ancillary ancillary;
    struct iovec vector = {(void *)data, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The fd to which the death of a child is written. The interpreter's own wakeup fd is not used: its
 * way from a signal to that fd touches more memory, and asyncio needs that fd for itself. */
static volatile int woken_at = -1;

static void
on_death(int number)
{
    int before = errno;
    (void)number;
    ssize_t ignored = write(woken_at, "!", 1);  /* fails when it is full: then it will be read */
    (void)ignored;
    errno = before;
}

void
hear_deaths(int fd)
{
    struct sigaction action = {.sa_handler = fd < 0 ? SIG_DFL : on_death,
                               .sa_flags = SA_RESTART | SA_NOCLDSTOP | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    woken_at = fd;
    sigaction(SIGCHLD, &action, NULL);
}

int
name_senders(int fd, int on)
{
    return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

int
die_with(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0)
        return -1;
    return fcntl(fd, F_SETFL, flags | O_ASYNC);
}

/* A pair, at one end of which the kernel says who sends. */
static int
pair_that_names(int type, int end, int pair[2])
{
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    if (name_senders(pair[end], 1) == 0)
        return 0;
    close(pair[0]);
    close(pair[1]);
    return -1;
}

int
up_pair(int pair[2])
{
    return pair_that_names(SOCK_SEQPACKET, 0, pair);
}

int
comm_pair(int pair[2])
{
    return pair_that_names(SOCK_STREAM, 1, pair);
}

int
holds_bytes(int fd)
{
    char first;
    shutdown(fd, SHUT_RD);
    return recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

int
holds_message(int fd)
{
    /* Room for the sender's credentials, which a message has and an end of file has not; for no
     * fd. */
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(struct ucred))]; } ancillary;
    char first;
    struct iovec vector = {&first, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1,
                             .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    shutdown(fd, SHUT_RD);
    ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    return got > 0 || (got == 0 && message.msg_controllen > 0);
}

int
poll_now(struct pollfd *polled, nfds_t count, int patience)
{
    struct timespec limit = {patience / 1000, patience % 1000 * 1000000L};
    sigset_t all, before;
    int ready = -2;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (PyErr_CheckSignals() == 0) {
        Py_BEGIN_ALLOW_THREADS
        ready = ppoll(polled, count, patience < 0 ? NULL : &limit, &before);
        Py_END_ALLOW_THREADS
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return ready;
}

pid_t
fork_now(void)
{
    if (PySys_Audit("os.fork", NULL) < 0)
        return -2;
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        return 0;
    }
    int error = errno;
    PyOS_AfterFork_Parent();
    errno = error;
    return pid;
}
