/* What the first batch of a new process says, as long as it is usual: the surroundings, modules to
 * import, files and values, and the function to run, linked or not, alone or not; or the command to
 * execute.
 *
 * A batch is judged as a whole before any of it is obeyed. One that says anything else is left to
 * _child/commands.py, whose work the usual one gets here.
 */
#include "quick.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *resolve, *partial, *not_executed;
static PyObject *s_worker, *minus_one;

int
set_up_orders(void)
{
    return (s_worker = PyUnicode_InternFromString("worker"))
           && (minus_one = PyLong_FromLong(-1)) ? 0 : -1;
}

void
orders_know(const Known *known)
{
    resolve = Py_NewRef(known->resolve);
    partial = Py_NewRef(known->partial);
    not_executed = Py_NewRef(known->not_executed);
}

/* -- what is usual ----------------------------------------------------------------------------- */

/* How many fds belong to a frame. */
static int
fds_of(const char *frame, Py_ssize_t size)
{
    int found = frame[0] == FD || frame[0] == CWD || frame[0] == CHROOT;
    for (Py_ssize_t i = 0; frame[0] == STDIO && i < size; i++)
        found += frame[FRAME + i] == NEXT_FD;
    return found;
}

/* Whether this frame RUN is one of those below, with so many fds left for it. */
static int
is_usual_run(const char *payload, Py_ssize_t size, int fds)
{
    static const char known[] = {UNLINKED, LINKED, SECOND_LINE, UNLINKED_ALONE, LINKED_ALONE,
                                 SECOND_LINE_ALONE};
    if (size < 2 || memchr(known, payload[0], sizeof known) == NULL)
        return 0;
    int lines = payload[0] == SECOND_LINE || payload[0] == SECOND_LINE_ALONE;
    return fds >= lines && fds <= lines + 2;
}

/* Whether this frame EXEC is one that `become` obeys, with so many fds left for it. */
static int
is_usual_exec(const char *payload, Py_ssize_t size, int fds)
{
    Command c;
    if (!take_command(&c, payload, (size_t)size))
        return 0;
    int usual = c.fds == fds;
    drop_command(&c);
    return usual;
}

int
are_usual(const char *batch, ssize_t size, const char *fork_batch, int fds, int executes)
{
    const unsigned char *head = (const unsigned char *)batch;
    if (size < PAD || memcmp(batch, fork_batch, 3) || (fds >= 0 && head[3] != fds)
        || number_at(head + 8) || number_at(head + 4) > size - HEAD)
        return UNUSUAL;
    fds = head[3];
    int imports = 0;  /* what a module left unwritten, Python writes before an exec */
    const char *frame = batch + HEAD, *end = frame + number_at(head + 4);
    while (end - frame > FRAME) {
        Py_ssize_t length = number_at((const unsigned char *)frame + 1);
        const char *payload = frame + FRAME;
        if (length > end - payload)
            return UNUSUAL;
        if (frame[0] == RUN)
            return payload + length == end && is_usual_run(payload, length, fds) ? RUNS : UNUSUAL;
        if (frame[0] == EXEC)
            return payload + length == end && executes && !imports
                && is_usual_exec(payload, length, fds) ? RUNS : UNUSUAL;
        imports |= frame[0] == REQUIRE;
        fds -= fds_of(frame, length);
        if (fds < 0
            || !(is_value(frame[0]) || is_surrounding(frame[0]) || frame[0] == REQUIRE))
            return UNUSUAL;
        frame = payload + length;
    }
    return frame == end && fds == 0 ? PREPARES : UNUSUAL;
}

/* -- what it runs ------------------------------------------------------------------------------ */

/* The same as resolve() of _child/here.py, but quick for `module.name` and `module:name` of a loaded
 * module. */
static PyObject *
find(const char *name, Py_ssize_t length)
{
    const char *end = name + length, *cut = memchr(name, ':', (size_t)length);
    int nested = cut != NULL && memchr(cut, '.', (size_t)(end - cut)) != NULL;
    if (cut == NULL)
        cut = memrchr(name, '.', (size_t)length);
    if (cut != NULL && !nested) {
        PyObject *found = global_of(name, cut - name, cut + 1, end - cut - 1);
        if (found != NULL || PyErr_Occurred())
            return found;
    }
    return PyObject_CallFunction(resolve, "s#", name, length);
}

static void
show(const char *name, Py_ssize_t length)
{
    char shown[16] = {0};
    memcpy(shown, name, (size_t)(length < 15 ? length : 15));
    prctl(PR_SET_NAME, shown);
}

PyObject *
set_name(PyObject *self, PyObject *name)
{
    (void)self;
    if (!PyBytes_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a name is bytes");
        return NULL;
    }
    show(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name));
    Py_RETURN_NONE;
}

PyObject *
function_for(const char *name, Py_ssize_t length)
{
    show(name, length);
    PyObject *doing = PyUnicode_DecodeUTF8(name, length, "replace");
    if (doing == NULL)
        return NULL;
    set_here(HERE_DOING, doing);
    return find(name, length);
}

PyObject *
job_of(PyObject *function, PyObject *sock, PyObject *values)
{
    Py_ssize_t count = PyList_GET_SIZE(values);
    if (count == 0)
        return PyMethod_New(function, sock);  /* job() is function(sock) */
    PyObject *arguments = PyTuple_New(count + 2);
    if (arguments == NULL)
        return NULL;
    PyTuple_SET_ITEM(arguments, 0, Py_NewRef(function));
    PyTuple_SET_ITEM(arguments, 1, Py_NewRef(sock));
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(arguments, i + 2, Py_NewRef(PyList_GET_ITEM(values, i)));
    PyObject *job = PyObject_CallObject(partial, arguments);
    Py_DECREF(arguments);
    return job;
}

/* -- obeying ----------------------------------------------------------------------------------- */

/* The same as in _child/guard.py. */
static void
discard_pending(void)
{
    sigset_t signals;
    if (sigpending(&signals) == 0 && !sigisemptyset(&signals)) {
        struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
        for (int number = 1; number < NSIG; number++) {
            if (sigismember(&signals, number) == 1 && sigaction(number, &ignore, &before) == 0)
                sigaction(number, &before, NULL);
        }
    }
}

static void
unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* Import a module. RUN follows, so it is as if the function's own module imported this one: with no
 * signal blocked, and the process is not ended with its owner meanwhile. */
static int
import(const char *name, Py_ssize_t length)
{
    discard_pending();
    unblock_signals();
    PyObject *text = PyUnicode_DecodeUTF8(name, length, NULL);
    PyObject *module = text == NULL ? NULL : PyImport_Import(text);
    Py_XDECREF(text);
    Py_XDECREF(module);
    return module == NULL ? -1 : 0;
}

/* Obey the frames before RUN or EXEC, or all; returns where it stopped. NULL and an exception on
 * failure. */
static const char *
take_all(const char *batch, PyObject *socket_class, PyObject *fds, PyObject *values)
{
    const char *frame = batch + HEAD;
    const char *end = frame + number_at((const unsigned char *)batch + 4);
    while (frame != end && frame[0] != RUN && frame[0] != EXEC) {
        const char *payload = frame + FRAME;
        Py_ssize_t size = number_at((const unsigned char *)frame + 1);
        int failed = is_value(frame[0])
            ? take_value(values, frame[0], payload, size, socket_class, fds)
            : frame[0] == REQUIRE ? import(payload, size)
            : apply_surrounding(frame[0], payload, size, fds);
        if (failed < 0)
            return NULL;
        frame = payload + size;
    }
    return frame;
}

/* Tell the forker what _link of _child/commands.py tells it. Owns the fds. */
static int
link_up(int up, int second_line, const int *fds, int count)
{
    char message[UP_HEAD + 1];
    ssize_t sent = -1;
    if (second_line) {
        PyObject *line = PyLong_FromLong(fds[0]);
        if (line == NULL)
            return -1;
        set_here(HERE_LINE, line);
        sent = die_with(fds[0]);
        fds++;
        count--;
    }
    if (sent == 0 || !second_line) {
        message[0] = (char)LINK;
        put_number((unsigned char *)message + 1, (uint32_t)getpid());
        message[UP_HEAD] = SECOND_LINE;
        size_t size = UP_HEAD + (second_line ? 1 : 0);
        set_here(HERE_SPOKE, Py_NewRef(Py_True));
        sent = send_with_fds(up, message, size, fds, count);
        struct pollfd room = {.fd = up, .events = POLLOUT};
        if (sent < 0 && errno == EAGAIN && poll(&room, 1, 5000) >= 0)
            sent = send_with_fds(up, message, size, fds, count);
    }
    if (sent < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    while (count > 0)
        close(fds[--count]);
    return sent < 0 ? -1 : 0;
}

/* Obey how RUN says that this process is linked. The fds that are left belong to that. */
static int
obey_link(int up, char kind, PyObject *list)
{
    int fds[3], count = 0;
    int second_line = kind == SECOND_LINE || kind == SECOND_LINE_ALONE;
    for (; count < PyList_GET_SIZE(list) && count < 3; count++)
        fds[count] = (int)PyLong_AsLong(PyList_GET_ITEM(list, count));
    if (kind != UNLINKED && kind != UNLINKED_ALONE)
        return link_up(up, second_line, fds, count);
    while (count > 0)
        close(fds[--count]);
    return 0;
}

/* Obey who may be asked from here on: the forker, or nobody. Returns -1 with an exception. */
static int
obey_alone(int up, char kind)
{
    if (kind == UNLINKED_ALONE || kind == LINKED_ALONE || kind == SECOND_LINE_ALONE) {
        close(up);
        set_here(HERE_UP, Py_NewRef(minus_one));
        set_here(HERE_FORKER, Py_NewRef(minus_one));
    }
    else if (kind == UNLINKED) {  /* the forker knows this of one that has linked itself */
        int on = 1;  /* the mark that take_to_work of _child/here.py sets */
        if (setsockopt(up, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) < 0) {
            /* A system without it (qemu-user, gVisor): Python sends a message instead. */
            PyObject *module = PyImport_ImportModule("earlyfork._child.here");
            PyObject *told = module == NULL ? NULL
                             : PyObject_CallMethod(module, "take_to_work", NULL);
            Py_XDECREF(module);
            Py_XDECREF(told);
            return told == NULL ? -1 : 0;
        }
    }
    return 0;
}

int
prepare(const Orders *orders)
{
    PyObject *fds = list_of(orders->fds, orders->count);
    if (fds == NULL)
        return -1;
    const char *end = take_all(orders->batch, orders->socket_class, fds, *here_at(HERE_PENDING));
    Py_DECREF(fds);
    return end == NULL ? -1 : 0;
}

/* Become a command. Returns only if that failed: NULL and an exception. */
static PyObject *
obey_exec(const Orders *orders, const char *payload, size_t size, PyObject *list)
{
    Command c;
    int fds[4], where;
    if (!take_command(&c, payload, size))
        return PyErr_NoMemory();  /* it was understood before */
    for (int i = 0; i < c.fds; i++)
        fds[i] = (int)PyLong_AsLong(PyList_GET_ITEM(list, i));
    discard_pending();
    int error = become(&c, fds, orders->comm, &where);
    PyObject *done = PyObject_CallFunction(not_executed, "iyii", orders->comm, c.file, error, where);
    drop_command(&c);
    Py_XDECREF(done);
    return NULL;
}

PyObject *
obey(const Orders *orders)
{
    PyObject *pending = *here_at(HERE_PENDING), *job = NULL, *function = NULL, *sock = NULL;
    PyObject *fds = list_of(orders->fds, orders->count);
    PyObject *values = PyList_GetSlice(pending, 0, PyList_GET_SIZE(pending));
    PyObject *none = PyList_New(0);
    const char *run = NULL;
    if (fds != NULL && values != NULL && none != NULL)
        run = take_all(orders->batch, orders->socket_class, fds, values);
    if (run == NULL)
        goto end;
    const char *payload = run + FRAME;
    Py_ssize_t size = number_at((const unsigned char *)run + 1);
    if (run[0] == EXEC) {
        job = obey_exec(orders, payload, (size_t)size, fds);
        goto end;
    }
    discard_pending();
    unblock_signals();
    if (obey_link(orders->up, payload[0], fds) < 0
        || (function = function_for(payload + 1, size - 1)) == NULL
        || obey_alone(orders->up, payload[0]) < 0)
        goto end;
    name_senders(orders->comm, 0);
    sock = socket_of(orders->socket_class, AF_UNIX, SOCK_STREAM, 0, orders->comm);
    job = sock == NULL ? NULL : job_of(function, sock, values);
    if (job == NULL) {
        sock = NULL;  /* dropped, it would close comm, which says how this process ends */
        goto end;
    }
    set_here(HERE_PENDING, Py_NewRef(none));
    set_here(HERE_KIND, Py_NewRef(s_worker));
end:
    Py_XDECREF(fds);
    Py_XDECREF(values);
    Py_XDECREF(none);
    Py_XDECREF(function);
    Py_XDECREF(sock);
    return job;
}
