/* Values and files: what is sent for the function that a process will run.
 *
 * A plain value is one of Python's own, through and through: it travels as `marshal` writes it, which
 * needs no module that is not loaded. Everything that pickle would do in another way (subclasses,
 * values that contain themselves, objects) is none. A file of a kind that is not made here is left to
 * _child/files.py, and a value to be unpickled whose unpickler is not loaded to _shared/payloads.py.
 */
#include "quick.h"

#include <marshal.h>
#include <string.h>
#include <sys/socket.h>

/* How deep a plain value may be nested. One that contains itself is deeper than any number. */
enum { DEEPEST = 32 };
/* Of marshal's format: it knows which parts of a value are the same object, and every Python from
 * 3.4 on reads it. */
enum { FORMAT = 4 };

static PyObject *revive, *unpack_value;
static PyObject *s_settimeout;

int
set_up_values(void)
{
    return (s_settimeout = PyUnicode_InternFromString("settimeout")) ? 0 : -1;
}

void
values_know(const Known *known)
{
    revive = Py_NewRef(known->revive);
    unpack_value = Py_NewRef(known->unpack_value);
}

/* Whether all of it is Python's own. Calls nothing that could change it meanwhile. */
static int
is_plain_value(PyObject *value, int depth)
{
    Py_ssize_t at = 0;
    if (value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value)
        || PyUnicode_CheckExact(value) || PyBytes_CheckExact(value) || PyFloat_CheckExact(value)
        || PyComplex_CheckExact(value))
        return 1;
    if (depth == 0)
        return 0;
    if (PyTuple_CheckExact(value)) {
        for (; at < PyTuple_GET_SIZE(value); at++) {
            if (!is_plain_value(PyTuple_GET_ITEM(value, at), depth - 1))
                return 0;
        }
        return 1;
    }
    if (PyList_CheckExact(value)) {
        for (; at < PyList_GET_SIZE(value); at++) {
            if (!is_plain_value(PyList_GET_ITEM(value, at), depth - 1))
                return 0;
        }
        return 1;
    }
    if (PyDict_CheckExact(value)) {
        PyObject *key, *found;
        while (PyDict_Next(value, &at, &key, &found)) {
            if (!is_plain_value(key, depth - 1) || !is_plain_value(found, depth - 1))
                return 0;
        }
        return 1;
    }
    if (PyAnySet_CheckExact(value)) {
        PyObject *items = PyObject_GetIter(value), *item;
        int plain = items != NULL;
        while (plain && (item = PyIter_Next(items)) != NULL) {
            plain = is_plain_value(item, depth - 1);
            Py_DECREF(item);
        }
        Py_XDECREF(items);
        return plain && !PyErr_Occurred();
    }
    return 0;
}

PyObject *
plain(PyObject *self, PyObject *value)
{
    (void)self;
    if (!is_plain_value(value, DEEPEST)) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    return PyMarshal_WriteObjectToString(value, FORMAT);
}

/* A value as _shared/payloads.py packs it. */
static PyObject *
unpacked(int op, const char *data, Py_ssize_t size)
{
    switch (op) {
    case ARG_BYTES:
        return PyBytes_FromStringAndSize(data, size);
    case ARG_STR:
        return PyUnicode_DecodeUTF8(data, size, "surrogatepass");
    case ARG_PLAIN:
        return PyMarshal_ReadObjectFromString(data, size);
    default: {
        static const char module[] = "_pickle", name[] = "loads";
        PyObject *loads = global_of(module, sizeof module - 1, name, sizeof name - 1);
        if (loads == NULL && PyErr_Occurred())
            return NULL;
        PyObject *value = loads == NULL
            ? PyObject_CallFunction(unpack_value, "iy#", op, data, size)
            : PyObject_CallFunction(loads, "y#", data, size);
        Py_XDECREF(loads);
        return value;
    }
    }
}

/* What an fd was in its owner, as _child/files.py makes it of the words of a frame FD. */
static PyObject *
revived(PyObject *socket_class, PyObject *fd, const char *words, Py_ssize_t size)
{
    static const char number[] = "fd", sock[] = "socket";  /* each with the NUL behind it */
    if (size == sizeof number - 1 && memcmp(words, number, (size_t)size) == 0)
        return Py_NewRef(fd);
    if (size < (Py_ssize_t)sizeof sock || memcmp(words, sock, sizeof sock)
        || is_plain(socket_class) <= 0)
        return PyErr_Occurred() ? NULL : PyObject_CallFunction(revive, "Oy#", fd, words, size);
    const char *digits = words + sizeof sock;
    PyObject *seconds = Py_NewRef(Py_None);
    if (digits < words + size) {
        PyObject *text = PyUnicode_FromStringAndSize(digits, words + size - digits);
        Py_SETREF(seconds, text == NULL ? NULL : PyFloat_FromString(text));
        Py_XDECREF(text);
    }
    PyObject *made = seconds == NULL ? NULL
                     : socket_of(socket_class, -1, -1, -1, (int)PyLong_AsLong(fd));
    PyObject *done = made == NULL ? NULL
                     : PyObject_CallMethodOneArg(made, s_settimeout, seconds);
    Py_XDECREF(seconds);
    if (done == NULL)
        Py_CLEAR(made);
    Py_XDECREF(done);
    return made;
}

int
is_value(int op)
{
    return op == FD || op == ARG_BYTES || op == ARG_STR || op == ARG_PICKLE || op == ARG_PLAIN;
}

int
take_value(PyObject *values, int op, const char *data, Py_ssize_t size, PyObject *socket_class,
           PyObject *fds)
{
    PyObject *value;
    if (op == FD) {
        PyObject *fd = Py_NewRef(PyList_GET_ITEM(fds, 0));
        value = PyList_SetSlice(fds, 0, 1, NULL) < 0 ? NULL
                : revived(socket_class, fd, data, size);
        Py_DECREF(fd);
    }
    else {
        value = unpacked(op, data, size);
    }
    int failed = value == NULL || PyList_Append(values, value) < 0;
    Py_XDECREF(value);
    return failed ? -1 : 0;
}
