/* A new process gets its variables, its path, and what else stands before RUN in a batch.
 *
 * Variables and path are set here, since most batches have them. All other frames about the
 * surroundings go to the functions of _child/commands.py. No other frame is obeyed here.
 */
#include "quick.h"

#include <stdlib.h>
#include <string.h>

static PyObject *surround, *os_module, *s_environ, *s_data;

int
set_up_surroundings(void)
{
    return (s_environ = PyUnicode_InternFromString("environ"))
           && (s_data = PyUnicode_InternFromString("_data"))
           && (os_module = PyImport_ImportModule("os")) ? 0 : -1;
}

void
surroundings_know(PyObject *functions)
{
    surround = Py_NewRef(functions);
}

int
is_surrounding(int number)
{
    PyObject *op = PyLong_FromLong(number);
    int known = op == NULL ? -1 : PyDict_Contains(surround, op);
    Py_XDECREF(op);
    if (known < 0)
        PyErr_Clear();
    return known > 0;
}

/* The next entry of a payload whose entries NUL separates, and its length. Moves `at` behind the
 * entry, or sets it to NULL after the last one. */
static const char *
next_entry(const char **at, const char *end, Py_ssize_t *length)
{
    const char *entry = *at, *stop = memchr(entry, 0, (size_t)(end - entry));
    *length = (stop == NULL ? end : stop) - entry;
    *at = stop == NULL ? NULL : stop + 1;
    return entry;
}

/* Has the C library and the module `time` read TZ again. */
static int
set_zone(void)
{
    PyObject *time_ = PyImport_ImportModule("time");
    PyObject *done = time_ == NULL ? NULL : PyObject_CallMethod(time_, "tzset", NULL);
    Py_XDECREF(time_);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The same as apply_env of _shared/surroundings.py: `name=value` sets a variable, `name` removes
 * it. Returns 1 if os.environ is no longer the stdlib's own mapping, so that Python must do it. */
static int
apply_env(const char *at, const char *end)
{
    PyObject *environ_ = PyObject_GetAttr(os_module, s_environ);
    PyObject *data = environ_ == NULL ? NULL : PyObject_GetAttr(environ_, s_data);
    Py_XDECREF(environ_);
    if (data == NULL) {
        PyErr_Clear();
        return 1;
    }
    int failed = 0, zone = 0;
    while (at != NULL && !failed) {
        Py_ssize_t length;
        const char *entry = next_entry(&at, end, &length);
        const char *sign = memchr(entry, '=', (size_t)length);
        PyObject *name = PyBytes_FromStringAndSize(entry, sign == NULL ? length : sign - entry);
        PyObject *value = NULL;
        zone |= name != NULL && strcmp(PyBytes_AS_STRING(name), "TZ") == 0;
        if (name == NULL) {
            failed = 1;
        }
        else if (sign == NULL) {
            unsetenv(PyBytes_AS_STRING(name));
            failed = PyObject_DelItem(data, name) < 0;
            if (failed && PyErr_ExceptionMatches(PyExc_KeyError)) {
                PyErr_Clear();
                failed = 0;
            }
        }
        else {
            value = PyBytes_FromStringAndSize(sign + 1, entry + length - sign - 1);
            failed = value == NULL || PyObject_SetItem(data, name, value) < 0;
            if (!failed && setenv(PyBytes_AS_STRING(name), PyBytes_AS_STRING(value), 1) < 0) {
                PyErr_SetFromErrno(PyExc_OSError);
                failed = 1;
            }
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    Py_XDECREF(data);
    return failed || (zone && set_zone() < 0) ? -1 : 0;
}

/* The same as apply_path of _shared/surroundings.py. */
static int
apply_path(const char *at, const char *end)
{
    PyObject *path = PySys_GetObject("path"), *entries = PyList_New(0);
    int failed = entries == NULL || path == NULL;
    while (at != NULL && !failed) {
        Py_ssize_t length;
        const char *entry = next_entry(&at, end, &length);
        PyObject *text = PyUnicode_DecodeFSDefaultAndSize(entry, length);
        failed = text == NULL || PyList_Append(entries, text) < 0;
        Py_XDECREF(text);
    }
    if (!failed)
        failed = PyList_SetSlice(path, 0, PY_SSIZE_T_MAX, entries) < 0;
    Py_XDECREF(entries);
    return failed ? -1 : 0;
}

int
apply_surrounding(int number, const char *payload, Py_ssize_t size, PyObject *fds)
{
    int said = number == ENV ? apply_env(payload, payload + size)
               : number == PATH ? apply_path(payload, payload + size) : 1;
    if (said <= 0)
        return said;
    PyObject *op = PyLong_FromLong(number);
    PyObject *apply = op == NULL ? NULL : PyDict_GetItemWithError(surround, op);
    PyObject *done = apply == NULL ? NULL : PyObject_CallFunction(apply, "y#O", payload, size, fds);
    Py_XDECREF(op);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}
