/* The loop of a forker: waits for deaths, requests and standbys that are due, and forks.
 *
 * Nothing is decided here, and nothing is kept from one call to the next. Whatever is not usual
 * ends the turn and is told to `step` of _child/quick_loop.py, which has the server see to it.
 */
#include "quick.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int
remember(PyObject *status, pid_t pid, int fd)
{
    PyObject *key = PyLong_FromLong(pid), *value = PyLong_FromLong(fd);
    int failed = key == NULL || value == NULL || PyDict_SetItem(status, key, value) < 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

static void
plan_refill(Forker *f, double pause)
{
    if (f->queue < 0 || PySet_GET_SIZE(f->waiting) >= f->standby)
        f->refill_at = INFINITY;
    else if (isinf(f->refill_at) || pause == 0)
        f->refill_at = now() + pause;
}

/* A process that somebody asked for; 1 in it. */
static int
fork_asked(Forker *f, int comm, int status)
{
    pid_t pid = fork_now();
    if (pid < 0) {
        tell_owner(status, NO_FORK, errno);
        close(comm);
        close(status);
        plan_refill(f, f->refill_after);
        return 0;
    }
    if (pid == 0) {
        /* Said here: a forker that is killed right now leaves a process that is known at least. */
        tell_owner(status, PID, getpid());
        close(status);
        be_born(f, comm, 0);
        return 1;
    }
    close(comm);
    if (remember(f->status, pid, status) < 0)
        return -1;
    plan_refill(f, f->refill_after);
    return 0;
}

/* One standby into the queue; 1 in it. */
static int
refill(Forker *f)
{
    int comm[2], status[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, comm) < 0) {
        f->refill_at = INFINITY;  /* nobody asked for this one: nobody is told */
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, status) < 0) {
        close(comm[0]);
        close(comm[1]);
        f->refill_at = INFINITY;
        return 0;
    }
    pid_t pid = fork_now();
    if (pid == 0) {
        close(comm[0]);
        close(status[0]);
        close(status[1]);
        be_born(f, comm[1], 1);
        return 1;
    }
    close(comm[1]);
    if (pid < 0) {
        close(comm[0]);
        close(status[0]);
        close(status[1]);
        f->refill_at = INFINITY;
        return 0;
    }
    PyObject *key = PyLong_FromLong(pid);
    int failed = 1;
    if (key != NULL && remember(f->status, pid, status[1]) == 0
        && PySet_Add(f->waiting, key) == 0) {
        unsigned char message[8];
        int fds[2] = {comm[0], status[0]};
        put_number(message, (uint32_t)f->generation);
        put_number(message + 4, (uint32_t)pid);
        if (send_with_fds(f->queue, message, sizeof message, fds, 2) < 0)
            f->standby = 0;  /* the owner is gone, and the need with it */
        plan_refill(f, 0);
        failed = 0;
    }
    Py_XDECREF(key);
    close(comm[0]);
    close(status[0]);
    return failed ? -1 : 0;
}

/* Tell the owners of those that ended; 1: there is one that the server must see to. */
static int
reap(Forker *f)
{
    for (int first = 1; PyDict_GET_SIZE(f->status); first = 0) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
            return 1;
        if (info.si_pid == 0)
            return first && f->careful;  /* somebody's code may have waited for it */
        PyObject *pid = PyLong_FromLong(info.si_pid);
        if (pid == NULL)
            return -1;
        PyObject *fd = PyDict_GetItemWithError(f->status, pid);
        if (fd == NULL || info.si_pid == f->nursery || PyTuple_GET_SIZE(f->watched)) {
            Py_DECREF(pid);
            return PyErr_Occurred() ? -1 : 1;
        }
        /* What it said has arrived by now, and comes before the news of its death. */
        struct pollfd said = {f->up, POLLIN, 0};
        if (poll(&said, 1, 0) != 0) {
            Py_DECREF(pid);
            return 1;
        }
        int status = (int)PyLong_AsLong(fd);
        /* Told first, reaped second: an owner who sees no exit may trust the pid. */
        tell_owner(status, EXIT, info.si_code == CLD_EXITED ? info.si_status : -info.si_status);
        waitpid(info.si_pid, NULL, 0);
        close(status);
        int failed = PyDict_DelItem(f->status, pid) < 0 || PySet_Discard(f->waiting, pid) < 0;
        Py_DECREF(pid);
        if (failed)
            return -1;
    }
    return 0;
}

/* What happened, or NULL: an exception, or (`is_born`) this is a new process. */
static PyObject *
loop(Forker *f, struct pollfd *polled, nfds_t count, int *is_born)
{
    for (;;) {
        int died = 0, ready, patience = -1;
        if (!isinf(f->refill_at)) {
            double left = ceil((f->refill_at - now()) * 1000);
            patience = left < 0 ? 0 : (int)left;
        }
        if (PyErr_CheckSignals() < 0)
            return NULL;
        Py_BEGIN_ALLOW_THREADS
        ready = poll(polled, count, patience);
        Py_END_ALLOW_THREADS
        if (ready < 0) {
            if (errno != EINTR)
                return PyErr_SetFromErrno(PyExc_OSError);
            continue;
        }
        if (polled[0].revents) {
            char signs[256];
            died = read(f->wake_in, signs, sizeof signs) > 0;
        }
        for (nfds_t i = 3; i < count; i++) {
            if (polled[i].revents)
                return Py_BuildValue("(ii)", MORE, died);
        }
        /* What a child said comes before the news of its death. */
        if (polled[1].revents)
            return Py_BuildValue("(ii)", HEAR, died);
        if (died) {
            int found = reap(f);
            if (found < 0)
                return NULL;
            if (found)
                return Py_BuildValue("(i)", DIED);
            plan_refill(f, 0);
            if (!polled[2].revents)
                continue;  /* who was told may have asked for the next one, and that goes first */
        }
        int made = 0;
        if (polled[2].revents) {
            char batch[PAD];
            int fds[MAX_FDS], fd_count;
            ssize_t got = receive(f->comm, batch, PAD, MSG_DONTWAIT, fds, &fd_count);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (got < 0)
                return not_read(READ, f->comm);
            if (got != PAD || fd_count != 2 || memcmp(batch, PyBytes_AS_STRING(f->fork_batch), PAD))
                return bytes_and_fds(READ, f->comm, batch, got, fds, fd_count);
            PySet_Clear(f->waiting);  /* who asks this way has found none */
            if (PyDict_GET_SIZE(f->status) >= f->crowd)
                return Py_BuildValue("(iii)", ASKED, fds[0], fds[1]);
            made = fork_asked(f, fds[0], fds[1]);
        }
        else if (!isinf(f->refill_at) && now() >= f->refill_at) {
            if (PyDict_GET_SIZE(f->status) >= f->crowd)
                return Py_BuildValue("(i)", CROWDED);
            made = refill(f);
        }
        if (made != 0) {
            *is_born = made > 0;
            return NULL;
        }
    }
}

/* Serve as a forker until something happens that is not usual, which is written to `state` then.
 * -1: an exception. 1: this is a new process. */
static int
turn(PyObject *state)
{
    Forker f;
    if (take_apart(state, &f) < 0)
        return -1;
    Py_ssize_t count = 3 + PyTuple_GET_SIZE(f.watched);
    struct pollfd few[8], *polled = few;
    if (count > 8 && (polled = PyMem_New(struct pollfd, (size_t)count)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    polled[0] = (struct pollfd){f.wake_in, POLLIN, 0};
    polled[1] = (struct pollfd){f.up, POLLIN, 0};
    polled[2] = (struct pollfd){f.comm, POLLIN, 0};
    PyObject *what = NULL;
    int is_born = 0;
    if (is_plain(f.socket_class) < 0)  /* asked here, so that no child has to find it out */
        goto end;
    for (Py_ssize_t i = 3; i < count; i++) {
        int fd, events;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(f.watched, i - 3), "ii", &fd, &events))
            goto end;
        polled[i] = (struct pollfd){fd, (short)events, 0};
    }
    what = loop(&f, polled, (nfds_t)count, &is_born);
end:
    if (is_born)
        return 1;
    if (polled != few)
        PyMem_Free(polled);
    return what == NULL ? -1 : leave(state, &f, what);
}

PyObject *
serve(PyObject *self, PyObject *args)
{
    PyObject *step, *first, *job, *said = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO:serve", &step, &first))
        return NULL;
    for (;;) {
        if (said == NULL && is_loop_state(first))
            job = Py_NewRef(first);
        else
            job = PyObject_CallOneArg(step, said == NULL ? Py_None : said);
        Py_XDECREF(said);
        if (job == NULL)
            return NULL;
        if (!is_loop_state(job))
            break;
        said = job;
        int turned = turn(said);
        if (turned < 0) {
            Py_DECREF(said);
            said = current_exception();
        }
        if (turned <= 0)
            continue;
        /* This reference is never given back: finalised, what the forker was given would touch its
         * memory, and close numbers that are other files by then. */
        Py_INCREF(said);
        PyObject *told = live();
        if (told == NULL)
            return NULL;
        if (!PyTuple_Check(told)) {
            job = told;
            break;
        }
        say_what(said, told);
    }
    int code = run_last(job);
    if (code == 0 || code == 120)
        _exit(code);
    Py_DECREF(job);
    if (code < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
listen_(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    hear_deaths(fd);
    Py_RETURN_NONE;
}
