/* The end of a process: the usual case of _child/ending.py.
 *
 * Whatever is special about an end (threads, functions of atexit, open files) is left to Python.
 */
#include "quick.h"

static PyObject *count_callbacks, *get_objects, *refuse_unfinished;
static PyObject *text_class, *file_class;
static PyObject *s_flush, *s_closed_stream, *s_threading;

int
set_up_ending(void)
{
    s_flush = PyUnicode_InternFromString("flush");
    s_closed_stream = PyUnicode_InternFromString("closed");
    s_threading = PyUnicode_InternFromString("threading");
    return s_flush && s_closed_stream && s_threading ? 0 : -1;
}

void
ending_knows(const Known *known)
{
    count_callbacks = Py_NewRef(known->count_callbacks);
    get_objects = Py_NewRef(known->get_objects);
    refuse_unfinished = Py_NewRef(known->refuse_unfinished);
    text_class = Py_NewRef(known->text_class);
    file_class = Py_NewRef(known->file_class);
}

/* Returns 0; 1 when the stream could not be written; -1 and an exception that is not the stream's
 * (KeyboardInterrupt, say). */
static int
flush_stream(PyObject *stream)
{
    if (stream == NULL)  /* code that the other stream's flush reached took it away */
        return 0;
    Py_INCREF(stream);
    int failed = 0;
    PyObject *done = PyObject_CallMethodNoArgs(stream, s_flush);
    if (done == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        PyObject *closed = PyObject_GetAttr(stream, s_closed_stream);
        int is_closed = closed == NULL ? -1 : PyObject_IsTrue(closed);
        Py_XDECREF(closed);
        PyErr_Clear();  /* a stream that was detached can't even say whether it is closed */
        failed = is_closed != 1;
    }
    else if (done == NULL) {
        failed = -1;
    }
    Py_XDECREF(done);
    Py_DECREF(stream);
    return failed;
}

/* Whether something that was made in this process needs an orderly end: a file, or an object whose
 * finalizer is written in Python. -1 and an exception on failure. */
static int
has_loose_ends(void)
{
    PyObject *files = *here_at(HERE_FILES);
    if (files == NULL || !PyList_Check(files) || PyList_GET_SIZE(files))
        return 1;
    PyObject *objects = PyObject_CallNoArgs(get_objects);
    if (objects == NULL)
        return -1;
    int found = !PyList_Check(objects);
    for (Py_ssize_t i = 0; !found && i < PyList_GET_SIZE(objects); i++) {
        PyTypeObject *type = Py_TYPE(PyList_GET_ITEM(objects, i));
        found = PyType_IsSubtype(type, (PyTypeObject *)file_class)
                || (type->tp_finalize != NULL && type->tp_flags & Py_TPFLAGS_HEAPTYPE
                    && (PyObject *)type != plain_socket_class());
    }
    Py_DECREF(objects);
    return found;
}

/* Does what the second half of `finish` in _child/ending.py does, when nothing is special about it.
 * Returns what `run_job` does. */
static int
wind_up(void)
{
    static const char *const names[] = {"stdout", "stderr"};
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GetItemWithError(modules, s_threading) != NULL)
        return 1;
    PyObject *callbacks = PyObject_CallNoArgs(count_callbacks);
    long count = callbacks == NULL ? -1 : PyLong_AsLong(callbacks);
    Py_XDECREF(callbacks);
    if (count != 0)
        return PyErr_Occurred() ? -1 : 1;
    int loose = has_loose_ends();
    if (loose)
        return loose;
    int status = 0;
    for (int i = 0; i < 2; i++) {
        PyObject *stream = PySys_GetObject(names[i]);
        if (stream == NULL || !Py_IS_TYPE(stream, (PyTypeObject *)text_class))
            return 1;
    }
    for (int i = 0; i < 2; i++) {
        int said = flush_stream(PySys_GetObject(names[i]));
        if (said < 0)
            return -1;
        status = said ? 120 : status;
    }
    return status;
}

int
run_job(PyObject *job)
{
    PyObject *done = PyObject_CallNoArgs(job);
    if (done != NULL && (PyCoro_CheckExact(done) || PyGen_CheckExact(done)
                         || PyAsyncGen_CheckExact(done)))
        Py_SETREF(done, PyObject_CallOneArg(refuse_unfinished, done));
    if (done == NULL)
        return -1;
    Py_DECREF(done);
    return wind_up();
}

int
run_last(PyObject *job)
{
    set_here(HERE_JOB, Py_NewRef(job));
    return run_job(job);
}
