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
#include <signal.h>
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
    if (poll(polled, 2, 0) > 0)  /* a pidfd of -1 is passed over */
        return PyLong_FromLong(-2);
    if (!is_own(queue))
        return PyLong_FromLong(-3);
    do  /* the template died; what it queued comes after this */
        got = receive(own_fd(queue), message, sizeof message, MSG_DONTWAIT, fds, &count);
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

/* A pair of stream sockets, in their owners. */
static int
pair(int flags, PyObject *near, PyObject *far)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, ends) < 0) {
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
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!O!O!:pairs", type, &comm, type, &watch, type, &far_comm, type,
                          &far_status))
        return NULL;
    if (pair(SOCK_NONBLOCK, watch, far_status) < 0 || pair(0, comm, far_comm) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
open_socket(PyObject *self, PyObject *args)
{
    PyObject *class, *end;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!:open_socket", &class, type_of_own(), &end))
        return NULL;
    PyObject *sock = socket_of(class, own_fd(end));
    if (sock != NULL)
        give(end);
    return sock;
}

/* Whether a number of Python is this one. */
static int
is_number(PyObject *tuple, Py_ssize_t at, unsigned long long number)
{
    return PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, at)) == number;
}

PyObject *
same_place(PyObject *self, PyObject *args)
{
    PyObject *cwd, *stdio;
    struct stat found;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!:same_place", &cwd, &PyTuple_Type, &stdio))
        return NULL;
    int same = stat(".", &found) < 0 ? cwd == Py_None
               : PyTuple_Check(cwd) && is_number(cwd, 0, found.st_dev)
                 && is_number(cwd, 1, found.st_ino);
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
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0
        || fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
