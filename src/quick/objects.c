/* What is asked of Python's objects: slots, sockets, globals, and what is handed to the server.
 *
 * This unit knows nothing of forkers and new processes, and asks the kernel only to close an fd.
 */
#include "quick.h"

#include <errno.h>
#include <string.h>
#include <structmember.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *base_socket, *base_detach, *plain_socket;
static PyObject *here;
static Py_ssize_t here_slots[HERE_COUNT];
/* Where the slots of a plain socket are. */
static Py_ssize_t at_io_refs, at_closed;
static PyObject *s_detach, *zero, *empty_tuple;

int
set_up_objects(void)
{
    return (s_detach = PyUnicode_InternFromString("detach")) && (zero = PyLong_FromLong(0))
           && (empty_tuple = PyTuple_New(0)) ? 0 : -1;
}

Py_ssize_t
slot(PyObject *class, const char *name)
{
    PyObject *member = PyObject_GetAttrString(class, name);
    Py_ssize_t at = 0;
    if (member != NULL && Py_IS_TYPE(member, &PyMemberDescr_Type)
        && (PyObject *)((PyMemberDescrObject *)member)->d_common.d_type == class
        && ((PyMemberDescrObject *)member)->d_member->type == T_OBJECT_EX)
        at = ((PyMemberDescrObject *)member)->d_member->offset;
    else if (member != NULL)
        PyErr_Format(PyExc_TypeError, "%s is no slot", name);
    Py_XDECREF(member);
    return at;
}

int
here_knows(PyObject *object)
{
    static const char *const names[] = {
        [HERE_ALSO] = "also", [HERE_DOING] = "doing", [HERE_FILES] = "files", [HERE_FORKER] = "forker",
        [HERE_JOB] = "job", [HERE_KIND] = "kind", [HERE_LIFELINE] = "lifeline",
        [HERE_LINE] = "line", [HERE_PENDING] = "pending", [HERE_SPOKE] = "spoke",
        [HERE_UP] = "up",
    };
    Py_ssize_t found[HERE_COUNT];
    for (int i = 0; i < HERE_COUNT; i++) {
        if (!(found[i] = slot((PyObject *)Py_TYPE(object), names[i])))
            return -1;
    }
    memcpy(here_slots, found, sizeof found);
    here = Py_NewRef(object);
    return 0;
}

PyObject **
here_at(int which)
{
    return at_slot(here, here_slots[which]);
}

void
set_here(int which, PyObject *value_to_own)
{
    set_slot(here, here_slots[which], value_to_own);
}

PyObject *
plain_socket_class(void)
{
    return plain_socket;
}

int
is_plain(PyObject *socket_class)
{
    if (socket_class == plain_socket)
        return 1;
    if (base_socket == NULL) {
        PyObject *sockets = PyImport_ImportModule("_socket");
        base_socket = sockets == NULL ? NULL : PyObject_GetAttrString(sockets, "socket");
        Py_XDECREF(sockets);
        base_detach = base_socket == NULL ? NULL : PyObject_GetAttr(base_socket, s_detach);
        if (base_detach == NULL) {
            Py_CLEAR(base_socket);
            return -1;
        }
    }
    if (!PyType_Check(socket_class)
        || (PyObject *)((PyTypeObject *)socket_class)->tp_base != base_socket)
        return 0;
    PyObject *home = PyObject_GetAttrString(socket_class, "__module__");
    int plain = home != NULL && PyUnicode_Check(home)
                && PyUnicode_CompareWithASCIIString(home, "socket") == 0
                && (at_io_refs = slot(socket_class, "_io_refs"))
                && (at_closed = slot(socket_class, "_closed"));
    Py_XDECREF(home);
    PyErr_Clear();
    if (plain)
        plain_socket = Py_NewRef(socket_class);
    return plain;
}

PyObject *
socket_of(PyObject *socket_class, int family, int type, int protocol, int fd)
{
    int plain = is_plain(socket_class);
    if (plain < 0)
        return NULL;
    if (!plain)
        return PyObject_CallFunction(socket_class, "iiii", family, type, protocol, fd);
    PyTypeObject *class = (PyTypeObject *)socket_class;
    PyObject *made = class->tp_new(class, empty_tuple, NULL);
    if (made == NULL)
        return NULL;
    PyObject *arguments = Py_BuildValue("(iiii)", family, type, protocol, fd);
    int failed = arguments == NULL || class->tp_base->tp_init(made, arguments, NULL) < 0;
    Py_XDECREF(arguments);
    if (failed) {
        Py_DECREF(made);
        return NULL;
    }
    set_slot(made, at_io_refs, Py_NewRef(zero));
    set_slot(made, at_closed, Py_NewRef(Py_False));
    return made;
}

void
close_socket(PyObject *sock)
{
    int plain = Py_TYPE(sock) == (PyTypeObject *)plain_socket;
    PyObject *number = plain ? PyObject_CallOneArg(base_detach, sock)
                             : PyObject_CallMethodNoArgs(sock, s_detach);
    int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd >= 0)
        close(fd);
}

PyObject *
global_of(const char *module, Py_ssize_t module_length, const char *name, Py_ssize_t length)
{
    PyObject *key = PyUnicode_DecodeUTF8(module, module_length, NULL), *found = NULL;
    if (key == NULL)
        return NULL;
    PyObject *loaded = PyDict_GetItemWithError(PyImport_GetModuleDict(), key);
    Py_DECREF(key);
    if (loaded == NULL || !PyModule_CheckExact(loaded))
        return NULL;
    key = PyUnicode_DecodeUTF8(name, length, NULL);
    if (key == NULL)
        return NULL;
    found = PyDict_GetItemWithError(PyModule_GetDict(loaded), key);
    Py_XINCREF(found);
    Py_DECREF(key);
    return found;
}

PyObject *
list_of(const int *fds, int count)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; i < count && list != NULL; i++) {
        PyObject *fd = PyLong_FromLong(fds[i]);
        if (fd == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, fd);
    }
    return list;
}

PyObject *
bytes_and_fds(int what, int comm, const char *data, ssize_t size, const int *fds, int count,
              const struct ucred *sender)
{
    PyObject *list = list_of(fds, count);
    if (list == NULL)
        return NULL;
    return Py_BuildValue("(iiy#N(iII))", what, comm, data, (Py_ssize_t)size, list, sender->pid,
                         sender->uid, sender->gid);
}

PyObject *
not_read(int what, int comm)
{
    if (errno == ECONNRESET)
        return Py_BuildValue("(iiy[]O)", what, comm, "", Py_None);
    if (errno == EMFILE)
        return Py_BuildValue("(iiO[]O)", what, comm, Py_None, Py_None);
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *
current_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}
