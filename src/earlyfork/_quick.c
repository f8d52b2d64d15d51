/* The hot path of a forker and of what it forks, in C. Optional: _serve.py does the same without.
 *
 * After a fork each page that is written to is copied first, on both sides, and Python writes to
 * every object that it looks at: a turn of the loop of _serve.py touches a hundred pages in the
 * template and two hundred in the new process. So what nearly every turn consists of (a child
 * died, a process is asked for, a standby is due) and what nearly every new process does (it is
 * told to run a function) is done here; whatever else happens is handed to _serve.py with nothing
 * lost. Nothing is decided here, and no state is kept between two calls.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#if !defined(__linux__) || defined(Py_GIL_DISABLED)
#error "made for Linux and for interpreters with a GIL: without it the Python code does its work"
#endif

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* _wire.py's layout; tests/test_quick.py holds the two together. */
enum { PAD = 256, HEAD = 12, FRAME = 5 };
enum { RUN = 10, ENV = 11, PATH = 13, PID = 64, EXIT = 67, NO_FORK = 68 };
/* Batches up to this size are looked at here. */
enum { LARGE = 8192 };

/* What `turn` returns first. */
enum { READ, HEAR, DIED, ASKED, CROWDED, MORE, CHILD };

static PyObject *here, *base_socket, *base_detach, *plain_socket, *resolve;
static PyObject *count_callbacks, *text_class, *surround;
static PyObject *s_flush, *s_detach;
/* Where the slots of `here` are, and those of a plain socket. */
static Py_ssize_t at_up, at_lifeline, at_kind, at_doing, at_pending, at_io_refs, at_closed;
static PyObject *s_threading;
static PyObject *os_module, *s_environ, *s_data;
static PyObject *s_worker, *s_prepared, *s_nothing, *s_closed_stream;
static PyObject *zero, *minus_one;
static PyObject *empty_tuple;

typedef struct {
    int comm, wake_in, wake_out, up, queue;
    PyObject *status;           /* dict: pid -> the far end of its status socket */
    PyObject *waiting;          /* set: standbys not known to be taken */
    PyObject *others;           /* tuple: fds that are no child's business either */
    PyObject *watched;          /* tuple of (fd, events): any event there is _serve.py's */
    PyObject *births;           /* tuple of functions that a new process calls first */
    PyObject *way_up;           /* what a child will speak to */
    PyObject *socket_class;     /* what its function gets */
    Py_ssize_t standby, crowd;
    unsigned generation;
    double refill_at, refill_after;
    long nursery;
    int root, careful;
    const char *fork_batch;
} Forker;

/* What a new process knows of itself until its first batch has come, and that batch: side by side,
 * since each page that is written to is copied. */
static struct {
    int comm, standby, root;
    PyObject *births, *way_up, *socket_class;
    int fds[253];
    char fork_batch[PAD];
    char batch[LARGE];
} born;

/* -- small things ------------------------------------------------------------------------------ */

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint32_t
number_at(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void
put_number(unsigned char *at, uint32_t number)
{
    at[0] = (unsigned char)(number >> 24);
    at[1] = (unsigned char)(number >> 16);
    at[2] = (unsigned char)(number >> 8);
    at[3] = (unsigned char)number;
}

/* write_status of _children.py: an owner that can't be told all of it is told that it's over. */
static void
tell_owner(int fd, int op, long number)
{
    char frame[FRAME + 24], digits[24];
    int length = 0, count = 0;
    /* snprintf alone would touch seven pages that nothing else needs. */
    unsigned long rest = number < 0 ? 0 - (unsigned long)number : (unsigned long)number;
    do
        digits[count++] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        frame[FRAME + length++] = '-';
    while (count > 0)
        frame[FRAME + length++] = digits[--count];
    frame[0] = (char)op;
    put_number((unsigned char *)frame + 1, (uint32_t)length);
    ssize_t written = send(fd, frame, (size_t)(FRAME + length), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && (errno == EPIPE || errno == ECONNRESET))
        return;
    if (written < FRAME + length)
        shutdown(fd, SHUT_RDWR);
}

typedef union {
    struct cmsghdr align;
    char space[CMSG_SPACE(253 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} Ancillary;

/* One message with its fds, close-on-exec. -1 and errno; EMFILE when fds were lost on the way. */
static ssize_t
receive(int fd, void *data, size_t size, int flags, int *fds, int *count)
{
    Ancillary ancillary;
    struct iovec vector = {data, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1,
                             .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    *count = 0;
    ssize_t got = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t found = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + *count, CMSG_DATA(c), found * sizeof(int));
        *count += (int)found;
    }
    if (message.msg_flags & MSG_CTRUNC) {
        while (*count > 0)
            close(fds[--*count]);
        errno = EMFILE;
        return -1;
    }
    return got;
}

static int
send_with_fds(int fd, const void *data, size_t size, const int *fds, int count)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(2 * sizeof(int))]; } ancillary;
    struct iovec vector = {(void *)data, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &ancillary,
                             .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

static PyObject *
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

/* (what, comm, data, fds) */
static PyObject *
bytes_and_fds(int what, int comm, const char *data, ssize_t size, const int *fds, int count)
{
    PyObject *list = list_of(fds, count);
    if (list == NULL)
        return NULL;
    return Py_BuildValue("(iiy#N)", what, comm, data, (Py_ssize_t)size, list);
}

/* The same when nothing came: b"" at the end of the stream, None for fds that found no place. */
static PyObject *
not_read(int what, int comm)
{
    if (errno == ECONNRESET)
        return bytes_and_fds(what, comm, "", 0, NULL, 0);
    if (errno == EMFILE)
        return Py_BuildValue("(iiO[])", what, comm, Py_None);
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Where it is written that a child died; the interpreter's own way from a signal to a wakeup fd
 * leads through its memory, and would take the wakeup fd from asyncio. */
static volatile int woken_at = -1;

static void
on_death(int number)
{
    int before = errno;
    (void)number;
    ssize_t ignored = write(woken_at, "!", 1);  /* full: it will be read */
    (void)ignored;
    errno = before;
}

static void
hear_deaths(int fd)
{
    struct sigaction action = {.sa_handler = fd < 0 ? SIG_DFL : on_death,
                               .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigemptyset(&action.sa_mask);
    woken_at = fd;
    sigaction(SIGCHLD, &action, NULL);
}

PyDoc_STRVAR(listen_doc,
"listen(fd)\n\nHave the death of a child written to an fd from now on; -1: not any more.");

static PyObject *
listen_(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    hear_deaths(fd);
    Py_RETURN_NONE;
}

/* -- a new process ----------------------------------------------------------------------------- */

static void
close_fds_in(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        close((int)PyLong_AsLong(PyTuple_GET_ITEM(tuple, i)));
}

/* What Children.forget and Server.become do about the system: nothing of the forker stays open. */
static void
be_born(Forker *f, int comm, int standby)
{
    Py_ssize_t at = 0;
    PyObject *pid, *fd;
    close(f->comm);
    close(f->up);
    close(f->wake_in);
    close(f->wake_out);
    if (f->queue >= 0)
        close(f->queue);
    while (PyDict_Next(f->status, &at, &pid, &fd))
        close((int)PyLong_AsLong(fd));
    close_fds_in(f->others);
    hear_deaths(-1);
    if (f->root) {
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
    }
    prctl(PR_SET_NAME, standby ? "ef-standby" : "ef-prepared");
    born.comm = comm;
    born.standby = standby;
    born.root = f->root;
    born.births = f->births;
    born.way_up = f->way_up;
    born.socket_class = f->socket_class;
    memcpy(born.fork_batch, f->fork_batch, PAD);
}

/* os.fork() without its frames. */
static pid_t
fork_now(void)
{
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        return 0;
    }
    int error = errno;
    PyOS_AfterFork_Parent();
    errno = error;
    return pid;
}

static PyObject *
new_ref(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

/* Where a slot of a class is in its objects; 0 and an exception if it has none of that name. To go
 * there directly touches one page; an attribute's way there touches five. */
static Py_ssize_t
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

static PyObject **
at_slot(PyObject *object, Py_ssize_t at)
{
    return (PyObject **)((char *)object + at);
}

static void
set_slot(PyObject *object, Py_ssize_t at, PyObject *value_to_own)
{
    PyObject *before = *at_slot(object, at);
    *at_slot(object, at) = value_to_own;
    Py_XDECREF(before);
}

/* Whether it is the stdlib's own, whose slots are known then; -1: an exception. Found out once, when
 * it is first asked, and not on the first line of a main program: that does without the module. */
static int
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
        plain_socket = new_ref(socket_class);
    return plain;
}

/* socket.socket(AF_UNIX, SOCK_STREAM, 0, fd); owns the fd. */
static PyObject *
socket_of(PyObject *socket_class, int fd)
{
    int plain = is_plain(socket_class);
    if (plain < 0)
        return NULL;
    if (!plain)
        return PyObject_CallFunction(socket_class, "iiii", AF_UNIX, SOCK_STREAM, 0, fd);
    PyTypeObject *type = (PyTypeObject *)socket_class;
    PyObject *made = type->tp_new(type, empty_tuple, NULL);
    if (made == NULL)
        return NULL;
    PyObject *arguments = Py_BuildValue("(iiii)", AF_UNIX, SOCK_STREAM, 0, fd);
    int failed = arguments == NULL || type->tp_base->tp_init(made, arguments, NULL) < 0;
    Py_XDECREF(arguments);
    if (failed) {
        Py_DECREF(made);
        return NULL;
    }
    set_slot(made, at_io_refs, new_ref(zero));
    set_slot(made, at_closed, new_ref(Py_False));
    return made;
}

/* A global of a loaded module; NULL without an exception if it is not that simple. */
static PyObject *
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

/* resolve() of _here.py, quickly for `module.name` of a module that is loaded. */
static PyObject *
find(const char *name, Py_ssize_t length)
{
    const char *dot = memrchr(name, '.', (size_t)length);
    if (dot != NULL && memchr(name, ':', (size_t)length) == NULL) {
        PyObject *found = global_of(name, dot - name, dot + 1, name + length - dot - 1);
        if (found != NULL || PyErr_Occurred())
            return found;
    }
    return PyObject_CallFunction(resolve, "s#", name, length);
}

/* Frame RUN of _obey.py: what is to be called. Owns comm. */
static PyObject *
job_for(int comm, const char *name, Py_ssize_t length)
{
    char shown[16] = {0};
    memcpy(shown, name, (size_t)(length < 15 ? length : 15));
    prctl(PR_SET_NAME, shown);
    PyObject *doing = PyUnicode_DecodeUTF8(name, length, "replace");
    if (doing == NULL)
        return NULL;
    set_slot(here, at_doing, doing);
    PyObject *function = find(name, length);
    if (function == NULL)
        return NULL;
    PyObject *sock = socket_of(born.socket_class, comm);
    if (sock == NULL) {
        Py_DECREF(function);
        return NULL;
    }
    set_slot(here, at_kind, new_ref(s_worker));
    PyObject *job = PyMethod_New(function, sock);  /* called, it calls function(sock) */
    Py_DECREF(function);
    Py_DECREF(sock);
    return job;
}

/* Where the frame RUN starts in a batch that says to run something, unlinked, and before that
 * nothing but what is about the surroundings; NULL for any other. */
static const char *
run_frame(const char *batch, ssize_t size, int fds)
{
    const unsigned char *at = (const unsigned char *)batch, *end;
    if (size < PAD || memcmp(at, born.fork_batch, 3) || at[3] != fds || number_at(at + 8)
        || number_at(at + 4) > size - HEAD)
        return NULL;
    end = at + HEAD + number_at(at + 4);
    for (at += HEAD; end - at > FRAME; at += FRAME + number_at(at + 1)) {
        if (number_at(at + 1) > end - at - FRAME)
            return NULL;
        if (at[0] == RUN) {
            int last = at + FRAME + number_at(at + 1) == end;
            return last && end - at > FRAME + 1 && at[FRAME] == '-' ? (const char *)at : NULL;
        }
        PyObject *op = PyLong_FromLong(at[0]);
        int known = op == NULL ? -1 : PyDict_Contains(surround, op);
        Py_XDECREF(op);
        if (known <= 0) {
            PyErr_Clear();
            return NULL;
        }
    }
    return NULL;
}

/* The next of the entries that NUL separates, and its length; moves `at` behind it. */
static const char *
next_entry(const char **at, const char *end, Py_ssize_t *length)
{
    const char *entry = *at, *stop = memchr(entry, 0, (size_t)(end - entry));
    *length = (stop == NULL ? end : stop) - entry;
    *at = stop == NULL ? NULL : stop + 1;
    return entry;
}

/* apply_env of _context.py: `name=value` to set, `name` to remove. 1: os.environ is not its own. */
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
    int failed = 0;
    while (at != NULL && !failed) {
        Py_ssize_t length;
        const char *entry = next_entry(&at, end, &length);
        const char *sign = memchr(entry, '=', (size_t)length);
        PyObject *name = PyBytes_FromStringAndSize(entry, sign == NULL ? length : sign - entry);
        PyObject *value = NULL;
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
    return failed ? -1 : 0;
}

/* apply_path of _context.py. */
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

/* Do what stands in a batch before its frame RUN. */
static int
apply_surroundings(const char *at, const char *end, const int *fds, int count)
{
    PyObject *list = list_of(fds, count);
    int failed = list == NULL;
    while (at < end && !failed) {
        const char *payload = at + FRAME;
        uint32_t size = number_at((const unsigned char *)at + 1);
        int said = at[0] == ENV ? apply_env(payload, payload + size)
                   : at[0] == PATH ? apply_path(payload, payload + size) : 1;
        failed = said < 0;
        if (said > 0) {
            PyObject *op = PyLong_FromLong(at[0]);
            PyObject *apply = op == NULL ? NULL : PyDict_GetItemWithError(surround, op);
            PyObject *done = apply == NULL ? NULL : PyObject_CallFunction(
                apply, "y#O", payload, (Py_ssize_t)size, list);
            Py_XDECREF(op);
            Py_XDECREF(done);
            failed = done == NULL;
        }
        at = payload + size;
    }
    Py_XDECREF(list);
    return failed ? -1 : 0;
}

/* 1: it could not be written; -1: an exception that is none of a stream's. */
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
        PyErr_Clear();  /* a detached one does not even know that */
        failed = is_closed != 1;
    }
    else if (done == NULL) {
        failed = -1;
    }
    Py_XDECREF(done);
    Py_DECREF(stream);
    return failed;
}

/* The end of `finish` in _leave.py, when nothing is special about it: 0, or 120 when a stream could
 * not be written; 1: something is special; -1: an exception. */
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

/* What `wind_up` says. */
static int
run_job(PyObject *job)
{
    PyObject *done = PyObject_CallNoArgs(job);
    if (done == NULL)
        return -1;
    Py_DECREF(done);
    return wind_up();
}

/* Without the frames of its `close`, or of a `detach` in Python. */
static void
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

/* In a standby: all that a run does, once, so that the pages it touches are this process's own. */
static int
rehearse(void)
{
    int ends[2], none[4], count;
    char batch[PAD];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return 0;  /* it is for speed only */
    if (send(ends[1], born.fork_batch, PAD, MSG_NOSIGNAL | MSG_DONTWAIT) != PAD
        || receive(ends[0], batch, PAD, MSG_DONTWAIT, none, &count) != PAD) {
        close(ends[0]);
        close(ends[1]);
        return 0;
    }
    static const char name[] = "earlyfork._child.here.rehearsal";
    PyObject *job = job_for(ends[0], name, sizeof name - 1);
    int failed = job == NULL || run_job(job) < 0;
    if (failed && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        failed = 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (job == NULL)
        close(ends[0]);
    else  /* dropped open, it would warn of that */
        close_socket(PyMethod_GET_SELF(job));
    close(ends[1]);
    Py_XDECREF(job);
    PyErr_Restore(type, value, traceback);
    prctl(PR_SET_NAME, "ef-standby");
    if (failed)
        return -1;
    set_slot(here, at_doing, new_ref(s_nothing));
    set_slot(here, at_kind, new_ref(s_prepared));
    return 0;
}

/* discard_pending of _obey.py, and an empty mask. */
static void
unblock_signals(void)
{
    sigset_t signals;
    if (sigpending(&signals) == 0 && !sigisemptyset(&signals)) {
        struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
        for (int number = 1; number < NSIG; number++) {
            if (sigismember(&signals, number) == 1 && sigaction(number, &ignore, &before) == 0)
                sigaction(number, &before, NULL);
        }
    }
    sigemptyset(&signals);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

/* The life of a new process up to its first batch: what is to be called, or (CHILD, comm, data,
 * fds). */
static PyObject *
live(void)
{
    int comm = born.comm;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(born.births); i++) {
        PyObject *done = PyObject_CallNoArgs(PyTuple_GET_ITEM(born.births, i));
        if (done == NULL)
            return NULL;
        Py_DECREF(done);
    }
    /* The former way up is closed; finalised, it would close a number that is another file's. */
    Py_XINCREF(*at_slot(here, at_up));
    set_slot(here, at_up, new_ref(born.way_up));
    if (born.root)
        set_slot(here, at_lifeline, new_ref(minus_one));
    set_slot(here, at_kind, new_ref(s_prepared));
    char *batch = born.batch;
    int *fds = born.fds, count;
    /* What it shall run may have been said before it was there; then there is no time to rehearse. */
    ssize_t got = receive(comm, batch, PAD, MSG_DONTWAIT, fds, &count);
    int wait = got < 0 && (errno == EAGAIN || errno == EINTR);
    if (wait && born.standby && rehearse() < 0)
        return NULL;
    while (wait) {
        Py_BEGIN_ALLOW_THREADS
        got = receive(comm, batch, PAD, 0, fds, &count);
        Py_END_ALLOW_THREADS
        wait = got < 0 && errno == EINTR;
        if (wait && PyErr_CheckSignals() < 0)
            return NULL;
    }
    if (got < 0)
        return not_read(CHILD, comm);
    if (got == PAD && !memcmp(batch, born.fork_batch, 3)) {
        uint32_t size = number_at((unsigned char *)batch + 4) + HEAD;
        if (size > PAD && size <= LARGE) {
            ssize_t rest = recv(comm, batch + PAD, size - PAD, MSG_WAITALL);
            got += rest > 0 ? rest : 0;
        }
    }
    const char *at = run_frame(batch, got, count);
    PyObject *pending = *at_slot(here, at_pending);
    if (at == NULL || pending == NULL || !PyList_Check(pending) || PyList_GET_SIZE(pending))
        return bytes_and_fds(CHILD, comm, batch, got, fds, count);
    if (at > batch + HEAD && apply_surroundings(batch + HEAD, at, fds, count) < 0)
        return NULL;
    unblock_signals();
    return job_for(comm, at + FRAME + 1, number_at((const unsigned char *)at + 1) - 1);
}

static PyObject *
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

/* -- the forker -------------------------------------------------------------------------------- */

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
        put_number(message, f->generation);
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

/* Tell the owners of those that ended; 1: there is one that _serve.py must see to. */
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
            int fds[253], fd_count;
            ssize_t got = receive(f->comm, batch, PAD, MSG_DONTWAIT, fds, &fd_count);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (got < 0)
                return not_read(READ, f->comm);
            if (got != PAD || fd_count != 2 || memcmp(batch, f->fork_batch, PAD))
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

/* Serve as a forker until something happens that is not usual: (refill_at, standby, what); NULL as
 * from `loop`. The tuple is `usual` of _quickly.py. */
static PyObject *
turn(PyObject *args, int *is_born)
{
    Forker f;
    Py_ssize_t batch_size;
    if (!PyArg_ParseTuple(args, "iiiiiO!O!O!O!O!OnnIddlpy#pO:usual", &f.comm, &f.wake_in,
                          &f.wake_out, &f.up, &f.queue, &PyDict_Type, &f.status, &PySet_Type,
                          &f.waiting, &PyTuple_Type, &f.others, &PyTuple_Type, &f.watched,
                          &PyTuple_Type, &f.births, &f.way_up, &f.standby, &f.crowd,
                          &f.generation, &f.refill_at, &f.refill_after, &f.nursery, &f.root,
                          &f.fork_batch, &batch_size, &f.careful, &f.socket_class))
        return NULL;
    Py_ssize_t count = 3 + PyTuple_GET_SIZE(f.watched);
    struct pollfd few[8], *polled = few;
    if (batch_size != PAD) {
        PyErr_SetString(PyExc_ValueError, "fork_batch is no batch");
        return NULL;
    }
    if (count > 8 && (polled = PyMem_New(struct pollfd, (size_t)count)) == NULL)
        return PyErr_NoMemory();
    polled[0] = (struct pollfd){f.wake_in, POLLIN, 0};
    polled[1] = (struct pollfd){f.up, POLLIN, 0};
    polled[2] = (struct pollfd){f.comm, POLLIN, 0};
    PyObject *what = NULL;
    if (is_plain(f.socket_class) < 0)  /* asked here, so that no child has to find it out */
        goto end;
    for (Py_ssize_t i = 3; i < count; i++) {
        int fd, events;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(f.watched, i - 3), "ii", &fd, &events))
            goto end;
        polled[i] = (struct pollfd){fd, (short)events, 0};
    }
    what = loop(&f, polled, (nfds_t)count, is_born);
end:
    if (polled != few && !*is_born)
        PyMem_Free(polled);
    return what == NULL ? NULL : Py_BuildValue("(dnN)", f.refill_at, f.standby, what);
}

PyDoc_STRVAR(serve_doc,
"serve(step, first)\n\n"
"Serve as a forker, and run what a process is told to run. `step` does all that is not usual: given\n"
"what happened it says what to run, or, as a tuple, what the loop needs to go on; `first` is such a\n"
"tuple, or None. After the run the process ends here, with status 0, when there is nothing special\n"
"about its end; else this returns.");

static PyObject *
serve(PyObject *self, PyObject *args)
{
    PyObject *step, *first, *job, *said = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO:serve", &step, &first))
        return NULL;
    for (;;) {
        if (said == NULL && PyTuple_Check(first))
            job = new_ref(first);
        else
            job = PyObject_CallOneArg(step, said == NULL ? Py_None : said);
        Py_XDECREF(said);
        if (job == NULL)
            return NULL;
        if (!PyTuple_Check(job))
            break;
        int is_born = 0;
        said = turn(job, &is_born);
        if (!is_born) {
            Py_DECREF(job);
            if (said == NULL)
                said = current_exception();
            continue;
        }
        /* The tuple is kept: finalised, what it holds would touch its memory, and close numbers that
         * are other files by then. */
        PyObject *told = live();
        if (told != NULL && !PyTuple_Check(told)) {
            job = told;
            break;
        }
        if (told == NULL)
            told = Py_BuildValue("(iiN[])", CHILD, born.comm, current_exception());
        said = Py_BuildValue("(diN)", INFINITY, 0, told);
        if (said == NULL)
            return NULL;
    }
    int code = run_job(job);
    if (code == 0 || code == 120)
        _exit(code);
    Py_DECREF(job);
    if (code < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- a main program's first line --------------------------------------------------------------- */

PyDoc_STRVAR(two_pairs_doc, "two_pairs()\n\ntwo_pairs of _free.py");

static PyObject *
two_pairs(PyObject *self, PyObject *ignored)
{
    int comm[2], status[2];
    (void)self;
    (void)ignored;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, comm) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        close(comm[0]);
        close(comm[1]);
        return NULL;
    }
    return Py_BuildValue("(iiii)", comm[0], comm[1], status[0], status[1]);
}

PyDoc_STRVAR(fork_free_doc,
"fork_free(near, far, ours)\n\n"
"fork_free of _free.py. The process between runs no Python, so next to nothing is copied for it.");

static PyObject *
fork_free(PyObject *self, PyObject *args)
{
    int near, far, ours, status = 0, problem = 0;
    sigset_t all, before;
    (void)self;
    if (!PyArg_ParseTuple(args, "iii:fork_free", &near, &far, &ours)
        || PySys_Audit("os.fork", NULL) < 0)
        return NULL;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        close(near);
        close(ours);
        pid = fork();
        if (pid != 0)
            _exit(pid < 0 ? errno : 0);
        struct pollfd asked = {far, POLLIN, 0};
        poll(&asked, 1, 2);  /* the main program's own start comes first */
        PyOS_AfterFork_Child();
        Py_RETURN_TRUE;
    }
    if (pid < 0)
        problem = errno;
    PyOS_AfterFork_Parent();
    while (pid > 0 && waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)  /* SIGCHLD is ignored here: the kernel took it */
            break;
    }
    if (status != 0)
        problem = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;  /* killed */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (problem) {
        errno = problem;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_FALSE;
}

/* -- the owner --------------------------------------------------------------------------------- */

PyDoc_STRVAR(take_doc,
"take(comm, pidfd, queue)\n\n"
"A standby of the template at `comm` as (generation, pid, comm, status); None if there is none,\n"
"0 if none will come any more, -1 if one was lost since this process has too many open files,\n"
"-2 if the template is dead.");

static PyObject *
take(PyObject *self, PyObject *args)
{
    unsigned char message[8];
    int fds[253], count, queue;
    struct pollfd polled[2] = {{.events = 0}, {.events = POLLIN}};
    ssize_t got;
    (void)self;
    if (!PyArg_ParseTuple(args, "iii:take", &polled[0].fd, &polled[1].fd, &queue))
        return NULL;
    if (poll(polled, 2, 0) > 0)  /* a pidfd of -1 is passed over */
        return PyLong_FromLong(-2);
    do  /* the template died; what it queued comes after this */
        got = receive(queue, message, sizeof message, MSG_DONTWAIT, fds, &count);
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

PyDoc_STRVAR(open_socket_doc,
"open_socket(socket_class, fd)\n\nsocket_class(AF_UNIX, SOCK_STREAM, 0, fd)");

static PyObject *
open_socket(PyObject *self, PyObject *args)
{
    PyObject *class;
    int fd;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oi:open_socket", &class, &fd))
        return NULL;
    return socket_of(class, fd);
}

/* Whether a number of Python is this one. */
static int
is_number(PyObject *tuple, Py_ssize_t at, unsigned long long number)
{
    return PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, at)) == number;
}

PyDoc_STRVAR(same_place_doc,
"same_place(cwd, stdio)\n\n"
"Whether cwd_identity() and stdio_identity() of _context.py would answer this.");

static PyObject *
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

PyDoc_STRVAR(inode_doc, "inode(fd)\n\nThe inode number of an open file; 0 if it is not open.");

static PyObject *
inode(PyObject *self, PyObject *number)
{
    struct stat found;
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    return PyLong_FromUnsignedLongLong(fstat(fd, &found) < 0 ? 0 : found.st_ino);
}

PyDoc_STRVAR(fall_with_doc,
"fall_with(fd)\n\nHave the kernel kill this process when nobody holds a socket's other end.");

static PyObject *
fall_with(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0
        || fcntl(fd, F_SETFL, O_ASYNC) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(know_doc,
"know(here, resolve, count_callbacks, text_class, surround)\n\n"
"The objects of Python that are used here.");

static PyObject *
know(PyObject *self, PyObject *args)
{
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOOO:know", &here, &resolve, &count_callbacks, &text_class,
                          &surround))
        return NULL;
    PyObject *class = (PyObject *)Py_TYPE(here);
    if (!(at_up = slot(class, "up")) || !(at_lifeline = slot(class, "lifeline"))
        || !(at_kind = slot(class, "kind")) || !(at_doing = slot(class, "doing"))
        || !(at_pending = slot(class, "pending")))
        return NULL;
    Py_INCREF(here);
    Py_INCREF(resolve);
    Py_INCREF(count_callbacks);
    Py_INCREF(text_class);
    Py_INCREF(surround);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"serve", serve, METH_VARARGS, serve_doc},
    {"two_pairs", two_pairs, METH_NOARGS, two_pairs_doc},
    {"fork_free", fork_free, METH_VARARGS, fork_free_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"open_socket", open_socket, METH_VARARGS, open_socket_doc},
    {"same_place", same_place, METH_VARARGS, same_place_doc},
    {"inode", inode, METH_O, inode_doc},
    {"listen", listen_, METH_O, listen_doc},
    {"fall_with", fall_with, METH_O, fall_with_doc},
    {"know", know, METH_VARARGS, know_doc},
    {NULL, NULL, 0, NULL},
};

static int
set_up(PyObject *module)
{
    static const struct { PyObject **object; const char *text; } names[] = {
        {&s_flush, "flush"}, {&s_detach, "detach"},
        {&s_threading, "threading"},
        {&s_environ, "environ"}, {&s_data, "_data"},
        {&s_worker, "worker"}, {&s_prepared, "prepared"},
        {&s_nothing, ""}, {&s_closed_stream, "closed"},
    };
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "what is kept here is the main interpreter's");
        return -1;
    }
    static const struct { const char *name; int value; } events[] = {
        {"READ", READ}, {"HEAR", HEAR}, {"DIED", DIED}, {"ASKED", ASKED}, {"CROWDED", CROWDED},
        {"MORE", MORE}, {"CHILD", CHILD},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((*names[i].object = PyUnicode_InternFromString(names[i].text)) == NULL)
            return -1;
    }
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (PyModule_AddIntConstant(module, events[i].name, events[i].value) < 0)
            return -1;
    }
    empty_tuple = PyTuple_New(0);
    os_module = PyImport_ImportModule("os");
    zero = PyLong_FromLong(0);
    minus_one = PyLong_FromLong(-1);
    return empty_tuple && os_module && zero && minus_one ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, set_up},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "earlyfork._quick",
    .m_doc = "The hot path of a forker, in C.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__quick(void)
{
    return PyModuleDef_Init(&definition);
}
