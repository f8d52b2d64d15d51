/* The children of a forker: how they are forked, noted and reaped.
 *
 * What a child says is obeyed by the server alone (_child/hearing.py).
 */
#include "quick.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Note the sockets of a child. Without memory for that -1 and an exception. */
static int
remember(Forker *f, pid_t pid, int status, const int up[2])
{
    PyObject *dicts[] = {f->status, f->ups, f->ends};
    int fds[] = {status, up[0], up[1]};
    PyObject *key = PyLong_FromLong(pid);
    int failed = key == NULL;
    for (int i = 0; i < 3 && !failed; i++) {
        PyObject *fd = PyLong_FromLong(fds[i]);
        failed = fd == NULL || PyDict_SetItem(dicts[i], key, fd) < 0;
        Py_XDECREF(fd);
    }
    Py_XDECREF(key);
    return failed ? -1 : 0;
}

/* End a child that was forked and can't be noted: nobody would reap it later. */
static void
disown(Forker *f, pid_t pid, int status, const int up[2])
{
    PyObject *dicts[] = {f->status, f->ups, f->ends};
    PyErr_Clear();
    PyObject *key = PyLong_FromLong(pid);
    for (int i = 0; i < 3 && key != NULL; i++) {
        if (PyDict_DelItem(dicts[i], key) < 0)
            PyErr_Clear();
    }
    Py_XDECREF(key);
    PyErr_Clear();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    tell_owner(status, NO_FORK, ENOMEM);
    close(status);
    close(up[0]);
    close(up[1]);
}

void
plan_refill(Forker *f, double pause)
{
    if (f->queue < 0 || PySet_GET_SIZE(f->waiting) >= f->standby)
        f->refill_at = INFINITY;
    else if (isinf(f->refill_at) || pause == 0)
        f->refill_at = now() + pause;
}

int
fork_asked(Forker *f, int comm, int status)
{
    int up[2];
    if (f->standby < 0)
        f->standby = -f->standby;
    int has_up = up_pair(up) == 0;
    pid_t pid = has_up ? fork_now() : -1;
    if (pid < 0) {
        int error = errno;
        if (has_up) {
            close(up[0]);
            close(up[1]);
        }
        if (pid == -2) {
            plan_refill(f, f->refill_after);
            return -1;
        }
        tell_owner(status, NO_FORK, error);
        close(comm);
        close(status);
        plan_refill(f, f->refill_after);
        return 0;
    }
    if (pid == 0) {
        /* The process says its pid itself: if its forker is killed right now, its owner knows it
         * all the same. */
        tell_owner(status, PID, getpid());
        close(status);
        close(up[0]);
        be_born(f, comm, up[1], 0);
        return 1;
    }
    hear_deaths(f->wake_out);  /* code that runs at each fork may have put another handler there */
    close(comm);
    if (remember(f, pid, status, up) < 0)
        disown(f, pid, status, up);
    plan_refill(f, f->refill_after);
    return 0;
}

static void
close_all(const int *fds, int count)
{
    while (count > 0)
        close(fds[--count]);
}

int
refill(Forker *f)
{
    /* The ends of comm and of status, each the owner's first, and of the way up, the forker's
     * first. */
    int ends[6];
    int made = 0;
    if (comm_pair(ends) == 0)
        made = 2;
    if (made && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends + 2) == 0)
        made = 4;
    if (made == 4 && up_pair(ends + 4) == 0)
        made = 6;
    int comm = ends[1], status = ends[3], owners[2] = {ends[0], ends[2]}, *up = ends + 4;
    pid_t pid = made < 6 ? -1 : fork_now();
    if (pid < 0) {
        close_all(ends, made);  /* nobody asked for this one, so nobody is told */
        PyErr_Clear();
        f->refill_at = INFINITY;
        return 0;
    }
    if (pid == 0) {
        close_all(owners, 2);
        close(status);
        close(up[0]);
        be_born(f, comm, up[1], 1);
        return 1;
    }
    hear_deaths(f->wake_out);
    close(comm);
    PyObject *key = PyLong_FromLong(pid);
    if (key != NULL && remember(f, pid, status, up) == 0 && PySet_Add(f->waiting, key) == 0) {
        unsigned char message[8];
        put_number(message, (uint32_t)f->generation);
        put_number(message + 4, (uint32_t)pid);
        if (send_with_fds(f->queue, message, sizeof message, owners, 2) < 0)  /* _queue there */
            f->standby = errno == EPIPE || errno == ECONNRESET ? 0 : -f->standby;
        plan_refill(f, 0);
    }
    else {
        disown(f, pid, status, up);
        f->refill_at = INFINITY;
    }
    Py_XDECREF(key);
    close_all(owners, 2);
    return 0;
}

/* The fd that a dict of the forker has for a child; -1 without one, or with an exception. */
static int
fd_of(PyObject *dict, PyObject *pid)
{
    PyObject *fd = PyDict_GetItemWithError(dict, pid);
    return fd == NULL ? -1 : (int)PyLong_AsLong(fd);
}

int
reap(Forker *f)
{
    for (int first = 1; PyDict_GET_SIZE(f->status); first = 0) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
            return 1;
        if (info.si_pid == 0)
            return first && f->careful;  /* code that was sent here may have waited for it */
        PyObject *pid = PyLong_FromLong(info.si_pid);
        if (pid == NULL)
            return -1;
        int status = fd_of(f->status, pid), up = fd_of(f->ups, pid), end = fd_of(f->ends, pid);
        /* What the dead child said has arrived by now, and is heard before its death is told. What
         * its owner wrote to status is left to the server: to drop a file that somebody sent may
         * mean to wait (_child/foreign.py). */
        if (status < 0 || info.si_pid == f->nursery || (up >= 0 && holds_message(up))
            || holds_bytes(status) || !may_forget(f, pid)) {
            Py_DECREF(pid);
            return PyErr_Occurred() ? -1 : 1;
        }
        /* Told first, reaped second: an owner that sees no exit may trust the pid. */
        tell_exit(status, 0, &info);
        waitpid(info.si_pid, NULL, 0);
        close(status);
        if (up >= 0)  /* a command has no way up */
            close(up);
        if (end >= 0)
            close(end);
        int failed = drop(f->status, pid) < 0 || drop(f->ups, pid) < 0
                     || drop(f->ends, pid) < 0 || PySet_Discard(f->waiting, pid) < 0
                     || forget_said(f, pid, status) < 0;
        Py_DECREF(pid);
        if (failed)
            return -1;
    }
    return 0;
}
