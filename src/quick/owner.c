/* What an owner asks of the system when it makes a process: a standby from a queue or the sockets of
 * a new one, whether it is still in the same place. And the second line of a linked worker,
 * `fall_with`.
 *
 * Nothing here waits, forks, or remembers anything.
 */
#include "quick.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

PyObject *
take(PyObject *self, PyObject *args)
{
    unsigned char message[8];
    int fds[MAX_FDS], count;
    PyObject *pidfd, *queue, *comm, *watch;
    struct pollfd polled[2] = {{.events = 0}, {.events = POLLIN}};
    ssize_t got;
    (void)self;
    if (!PyArg_ParseTuple(args, "iO!O!O!O!:take", &polled[0].fd, type_of_own(), &pidfd,
                          type_of_own(), &queue, type_of_own(), &comm, type_of_own(), &watch))
        return NULL;
    polled[1].fd = own_fd(pidfd);
    if (poll(polled, 2, 0) > 0)  /* poll passes over a pidfd of -1 */
        return PyLong_FromLong(-2);
    if (!is_own(queue))
        return PyLong_FromLong(-3);
    do  /* after ECONNRESET the template is dead, and what it had queued comes next */
        got = receive(own_fd(queue), message, sizeof message, MSG_DONTWAIT, fds, &count, NULL);
    while (got < 0 && (errno == ECONNRESET || errno == EINTR));
    if (got < 0 && errno == EAGAIN)
        Py_RETURN_NONE;
    if (got < 0 && errno != EMFILE)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (got == 0)
        return PyLong_FromLong(0);
    if (got != sizeof message || count != 2) {
        while (got > 0 && count > 0)
            close(fds[--count]);
        return PyLong_FromLong(-1);
    }
    /* Both are owned before a step of Python is done, where a signal handler may raise. */
    if (own(watch, fds[1]) < 0) {
        close(fds[0]);
        return NULL;
    }
    if (own(comm, fds[0]) < 0)
        return NULL;
    return Py_BuildValue("(II)", number_at(message), number_at(message + 4));
}

/* The ends of a pair, in their owners; -1 and an exception if the pair could not be made. */
static int
own_pair(int made, const int ends[2], PyObject *near, PyObject *far)
{
    if (made < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (own(far, ends[1]) < 0) {
        close(ends[0]);
        return -1;
    }
    return own(near, ends[0]);
}

PyObject *
pairs(PyObject *self, PyObject *args)
{
    PyObject *comm, *watch, *far_comm, *far_status;
    PyTypeObject *type = type_of_own();
    int ends[2];
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!O!O!:pairs", type, &comm, type, &watch, type, &far_comm, type,
                          &far_status))
        return NULL;
    int made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
    if (own_pair(made, ends, watch, far_status) < 0
        || own_pair(comm_pair(ends), ends, comm, far_comm) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
status_pair(PyObject *self, PyObject *args)
{
    PyObject *watch, *far;
    int ends[2];
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!:status_pair", type_of_own(), &watch, type_of_own(), &far))
        return NULL;
    int made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
    if (own_pair(made, ends, watch, far) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
send_(PyObject *self, PyObject *args)
{
    PyObject *end, *owns;
    Py_buffer data;
    int fds[MAX_FDS];
    (void)self;
    if (!PyArg_ParseTuple(args, "O!y*O!:send", type_of_own(), &end, &data, &PyTuple_Type, &owns))
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(owns), sent = -1;
    for (Py_ssize_t i = 0; i < count && i < MAX_FDS; i++)
        fds[i] = PyObject_TypeCheck(PyTuple_GET_ITEM(owns, i), type_of_own())
                     ? own_fd(PyTuple_GET_ITEM(owns, i)) : -1;
    errno = EINVAL;
    if (count <= MAX_FDS)
        sent = send_with_fds(own_fd(end), data.buf, (size_t)data.len, fds, (int)count);
    PyBuffer_Release(&data);
    return sent < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(sent);
}

PyObject *
standing(PyObject *self, PyObject *number)
{
    struct { struct rlimit limits[RLIM_NLIMITS]; long nice; cpu_set_t cpus; } found;
    int pid = (int)PyLong_AsLong(number), failed = 0;
    (void)self;
    if (pid == -1 && PyErr_Occurred())
        return NULL;
    memset(&found, 0, sizeof found);  /* what lies between them is compared, too */
    for (int i = 0; i < RLIM_NLIMITS && !failed; i++)
        failed = prlimit(pid, i, NULL, &found.limits[i]) < 0;
    if (failed || sched_getaffinity(pid, sizeof found.cpus, &found.cpus) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    found.nice = getpriority(PRIO_PROCESS, (id_t)pid);
    return PyBytes_FromStringAndSize((const char *)&found, sizeof found);
}

PyObject *
readable(PyObject *self, PyObject *args)
{
    struct pollfd polled = {.events = POLLIN};
    int patience, ready;
    (void)self;
    if (!PyArg_ParseTuple(args, "ii:readable", &polled.fd, &patience))
        return NULL;
    double end = now() + patience * 1e-3;
    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        ready = poll(&polled, 1, patience);
        Py_END_ALLOW_THREADS
        if (ready >= 0)
            return PyBool_FromLong(ready);
        if (errno != EINTR)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (PyErr_CheckSignals() < 0)
            return NULL;
        double left = (end - now()) * 1e3;
        if (patience > 0)
            patience = left > 0 ? (int)(left + 1) : 0;
    }
}

PyObject *
umask_(PyObject *self, PyObject *ignored)
{
    char text[256];
    (void)self, (void)ignored;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[got < 0 ? 0 : got] = 0;
    const char *found = strstr(text, "\nUmask:");  /* the second line, behind a name of 64 bytes */
    return PyLong_FromLong(found == NULL ? -1 : strtol(found + 7, NULL, 8));
}

PyObject *
open_socket(PyObject *self, PyObject *args)
{
    PyObject *class, *end;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!:open_socket", &class, type_of_own(), &end))
        return NULL;
    PyObject *sock = socket_of(class, AF_UNIX, SOCK_STREAM, 0, own_fd(end));
    if (sock != NULL)
        give(end);
    return sock;
}

/* Whether an item of a tuple is this number. */
static int
is_number(PyObject *tuple, Py_ssize_t at, unsigned long long number)
{
    return PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, at)) == number;
}

/* Whether directory_identity() would answer this. */
static int
is_directory(const char *path, PyObject *identity)
{
    struct stat found;
    if (stat(path, &found) < 0)
        return identity == Py_None;
    return PyTuple_Check(identity) && is_number(identity, 0, found.st_dev)
           && is_number(identity, 1, found.st_ino);
}

PyObject *
same_place(PyObject *self, PyObject *args)
{
    PyObject *root, *cwd, *stdio;
    struct stat found;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOO!:same_place", &root, &cwd, &PyTuple_Type, &stdio))
        return NULL;
    int same = is_directory("/", root) && is_directory(".", cwd);
    for (int fd = 0; fd < 3 && same; fd++) {
        PyObject *file = PyTuple_GET_ITEM(stdio, fd);
        same = fstat(fd, &found) < 0 ? file == Py_None
               : PyTuple_Check(file) && is_number(file, 0, found.st_dev)
                 && is_number(file, 1, found.st_ino) && is_number(file, 2, found.st_rdev);
    }
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(same);
}

PyObject *
fall_with(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (die_with(fd) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
