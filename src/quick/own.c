/* An fd with an owner: the class Own of _owner/own.py, which says what it is for.
 *
 * What is done by one call from here can't be interrupted: an exception out of a signal handler
 * comes between two steps of Python, never within one of C.
 */
#include "quick.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <structmember.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD
    int fd;
    unsigned long long identity;
    double born;
    PyObject *references;  /* weak ones */
} Own;

static PyTypeObject *own_type;

static unsigned long long
identity_of(int fd)
{
    struct stat found;
    if (fd < 0 || fstat(fd, &found) < 0)
        return 0;
    return ((unsigned long long)found.st_dev << 40) ^ (unsigned long long)found.st_ino;
}

PyObject *
identity(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLongLong(identity_of(fd));
}

int
is_own(PyObject *object)
{
    Own *own = (Own *)object;
    return own->fd >= 0 && identity_of(own->fd) == own->identity;
}

void
give(PyObject *object)
{
    ((Own *)object)->fd = -1;
}

int
own_fd(PyObject *object)
{
    return ((Own *)object)->fd;
}

static void
close_own(Own *own)
{
    int fd = own->fd, ours = is_own((PyObject *)own);
    own->fd = -1;
    if (ours)
        close(fd);
}

int
above_streams(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int above = fcntl(fd, F_DUPFD_CLOEXEC, 3), error = errno;
    close(fd);
    errno = error;
    return above;
}

int
own(PyObject *object, int fd)
{
    Own *own = (Own *)object;
    struct timespec now = {0, 0};
    close_own(own);
    fd = above_streams(fd);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    own->fd = fd;
    own->identity = identity_of(fd);
    clock_gettime(CLOCK_BOOTTIME, &now);
    own->born = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    return 0;
}

static PyObject *
own_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args, (void)keywords;
    Own *made = (Own *)type->tp_alloc(type, 0);
    if (made != NULL)
        made->fd = -1;
    return (PyObject *)made;
}

static void
own_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (((Own *)self)->references != NULL)
        PyObject_ClearWeakRefs(self);
    close_own((Own *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
own_make(PyObject *self, PyObject *args)
{
    if (PyTuple_GET_SIZE(args) < 1) {
        PyErr_SetString(PyExc_TypeError, "what makes the fd is missing");
        return NULL;
    }
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *number = rest == NULL ? NULL : PyObject_Call(PyTuple_GET_ITEM(args, 0), rest, NULL);
    Py_XDECREF(rest);
    if (number == NULL)
        return NULL;
    int fd = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (own(self, fd) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
own_is_own(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(is_own(self));
}

static PyObject *
own_release(PyObject *self, PyObject *ignored)
{
    Own *own = (Own *)self;
    int fd = is_own(self) ? own->fd : -1;
    (void)ignored;
    own->fd = -1;
    return PyLong_FromLong(fd);
}

static PyObject *
own_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    close_own((Own *)self);
    Py_RETURN_NONE;
}

static PyObject *
own_read(PyObject *self, PyObject *into)
{
    static char buffer[1 << 16];
    if (!PyList_Check(into)) {
        PyErr_SetString(PyExc_TypeError, "what was read goes into a list");
        return NULL;
    }
    if (!is_own(self)) {
        errno = EBADF;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    ssize_t got = recv(((Own *)self)->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        Py_RETURN_NONE;
    if (got < 0 && errno != ECONNRESET)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (got <= 0)
        Py_RETURN_FALSE;
    PyObject *bytes = PyBytes_FromStringAndSize(buffer, got);
    int failed = bytes == NULL || PyList_Append(into, bytes) < 0;
    Py_XDECREF(bytes);
    return failed ? NULL : Py_NewRef(Py_True);
}

static PyMethodDef own_methods[] = {
    {"make", own_make, METH_VARARGS, "make(function, *arguments)\n\nOwn the fd that it returns."},
    {"is_own", own_is_own, METH_NOARGS, "is_own()\n\nWhether the number is still this fd's."},
    {"release", own_release, METH_NOARGS, "release()\n\nGive the fd up; -1 if it was lost."},
    {"close", own_close, METH_NOARGS, "close()\n\nClose the fd, if it is still this one."},
    {"read", own_read, METH_O,
     "read(into)\n\n"
     "Add what a socket has to say to a list; False at its end, None if that is nothing yet."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef own_members[] = {
    {"fd", T_INT, offsetof(Own, fd), READONLY, "The number, or -1."},
    {"born", T_DOUBLE, offsetof(Own, born), READONLY, "When it was owned, since the boot."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Own, references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot own_slots[] = {
    {Py_tp_doc, "An fd with an owner; see earlyfork/_owner/own.py."},
    {Py_tp_new, own_new},
    {Py_tp_dealloc, own_dealloc},
    {Py_tp_methods, own_methods},
    {Py_tp_members, own_members},
    {0, NULL},
};

static PyType_Spec own_spec = {
    .name = "earlyfork._quick.Own",
    .basicsize = sizeof(Own),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = own_slots,
};

PyTypeObject *
type_of_own(void)
{
    return own_type;
}

PyObject *
own_class(PyObject *self, PyObject *ignored)
{
    (void)self, (void)ignored;
    if (own_type == NULL)
        own_type = (PyTypeObject *)PyType_FromSpec(&own_spec);
    return Py_XNewRef((PyObject *)own_type);
}
