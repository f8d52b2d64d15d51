/* A child that says it is to be linked: the usual case of `_link` in _child/hearing.py.
 *
 * The child may be anybody by then, and say anything. So its message is looked at before it is taken:
 * a copy of its fds is made, and whatever is not as it should be stays where it is, for the server to
 * judge. As long as both the copies and the message are there, no close can be the last one of a
 * file, which might have to wait.
 */
#include "quick.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static PyObject *s_linked, *s_runs;

int
set_up_hearing(void)
{
    return (s_linked = PyUnicode_InternFromString("linked"))
           && (s_runs = PyUnicode_InternFromString("runs")) ? 0 : -1;
}

static int
is_stream(int fd)
{
    int domain = 0, type = 0;
    socklen_t size = sizeof domain, size_too = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX
           && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size_too) == 0 && type == SOCK_STREAM;
}

static int
is_pidfd(int fd)
{
    return syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0 || errno == EPERM || errno == ESRCH;
}

/* Whether the message that comes next is LINK with the fds that it may have, copies of which are put
 * into `fds`: the line first, if there is one. */
static int
is_usual_link(int up, int *fds, int *count, int *has_line)
{
    unsigned char message[UP_HEAD + 2];
    ssize_t got = receive_few(up, message, sizeof message, MSG_PEEK | MSG_DONTWAIT, fds, count, 2);
    if (got < 0)
        return 0;
    *has_line = got == UP_HEAD + 1 && message[UP_HEAD] == SECOND_LINE;
    int usual = message[0] == LINK && (*has_line ? *count > 0 : got == UP_HEAD)
                && *count <= *has_line + 1;
    for (int i = 0; usual && i < *count; i++)
        usual = *has_line && i == 0 ? is_stream(fds[i]) : is_pidfd(fds[i]);
    if (!usual) {
        while (*count > 0)
            close(fds[--*count]);
    }
    return usual;
}

/* Whether a child has marked its way up: then its function speaks, and may not say this. */
static int
is_marked(int end)
{
    int on = 0;
    socklen_t size = sizeof on;
    return getsockopt(end, SOL_SOCKET, SO_LOCK_FILTER, &on, &size) < 0 || on;
}

/* Note what Linked.link of _child/linked.py notes, and what was heard of the child. */
static int
note_link(const Forker *f, PyObject *pid, const int *fds, int count, int has_line)
{
    PyObject *held = list_of(fds, count), *said = PySet_New(NULL);
    PyObject *status = PyDict_GetItemWithError(f->status, pid);
    int failed = held == NULL || said == NULL || status == NULL || PySet_Add(said, s_linked) < 0
                 || PySet_Add(said, s_runs) < 0 || PyDict_SetItem(f->said, pid, said) < 0
                 || PyDict_SetItem(f->held, pid, held) < 0
                 || PyDict_SetItem(f->watched, status, pid) < 0;
    if (!failed && count > has_line)
        failed = PyDict_SetItem(f->watched, PyList_GET_ITEM(held, has_line), pid) < 0;
    Py_XDECREF(held);
    Py_XDECREF(said);
    return failed ? -1 : 0;
}

int
hear_link(const Forker *f, PyObject *pid, int up)
{
    int fds[MAX_FDS], count, has_line;
    char first;
    PyObject *end = PyDict_GetItemWithError(f->ends, pid);
    int known = PyDict_Contains(f->said, pid);
    if (end == NULL || known || is_marked((int)PyLong_AsLong(end)))
        return PyErr_Occurred() ? -1 : 0;
    if (!is_usual_link(up, fds, &count, &has_line))
        return 0;
    ssize_t taken = recv(up, &first, 1, MSG_DONTWAIT);
    (void)taken;  /* it was there a moment ago, and nobody else reads here */
    if (note_link(f, pid, fds, count, has_line) == 0)
        return 1;
    while (count > 0)
        close(fds[--count]);
    return -1;
}

/* Whether something is unread at one of a list of fds. */
static int
hold_bytes(PyObject *fds)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(fds); i++) {
        if (holds_bytes((int)PyLong_AsLong(PyList_GET_ITEM(fds, i))))
            return 1;
    }
    return 0;
}

int
may_forget(const Forker *f, PyObject *pid)
{
    PyObject *held = PyDict_GetItemWithError(f->held, pid);
    return held == NULL ? !PyErr_Occurred() : PyList_Check(held) && !hold_bytes(held);
}

int
drop(PyObject *dict, PyObject *key)
{
    int found = PyDict_Contains(dict, key);
    return found > 0 ? PyDict_DelItem(dict, key) : found;
}

int
forget_said(const Forker *f, PyObject *pid, int status)
{
    PyObject *held = PyDict_GetItemWithError(f->held, pid);
    if (held != NULL) {
        PyObject *number = PyLong_FromLong(status);
        int failed = number == NULL || drop(f->watched, number) < 0;
        Py_XDECREF(number);
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(held) && !failed; i++) {
            PyObject *fd = PyList_GET_ITEM(held, i);
            close((int)PyLong_AsLong(fd));
            failed = drop(f->watched, fd) < 0;
        }
        if (failed || PyDict_DelItem(f->held, pid) < 0)
            return -1;
    }
    return PyErr_Occurred() ? -1 : drop(f->said, pid);
}
