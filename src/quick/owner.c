/* What an owner asks of the system when it makes a process: a standby from a queue; whether its own
 * directory and streams are still the same; a socket. And `fall_with`, the second line of a linked
 * worker.
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
    int fds[MAX_FDS], count, queue;
    struct pollfd polled[2] = {{.events = 0}, {.events = POLLIN}};
    ssize_t got;
    (void)self;
    if (!PyArg_ParseTuple(args, "iii:take", &polled[0].fd, &polled[1].fd, &queue))
        return NULL;
    if (poll(polled, 2, 0) > 0)  /* poll passes over a pidfd of -1 */
        return PyLong_FromLong(-2);
    do  /* after ECONNRESET the template is dead, and what it had queued comes next */
        got = receive(queue, message, sizeof message, MSG_DONTWAIT, fds, &count, NULL);
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
    return Py_BuildValue("(IIii)", number_at(message), number_at(message + 4), fds[0], fds[1]);
}

PyObject *
open_socket(PyObject *self, PyObject *args)
{
    PyObject *class;
    int fd;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oi:open_socket", &class, &fd))
        return NULL;
    return socket_of(class, fd);
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
inode(PyObject *self, PyObject *number)
{
    struct stat found;
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLongLong(fstat(fd, &found) < 0 ? 0 : found.st_ino);
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
