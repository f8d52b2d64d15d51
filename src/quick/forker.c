/* The loop of a forker: waits for deaths, requests and standbys that are due, and forks.
 *
 * It decides nothing, and keeps nothing from one call to the next. Whatever is not usual ends the
 * turn and is told to `step` of _child/quick_loop.py, which has the server see to it.
 */
#include "quick.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is polled: the fixed ones first (the news of deaths, comm, what shows that owners end), then
 * the ways up of all children. */
typedef struct {
    struct pollfd *fds;
    nfds_t fixed, count, room;
} Polled;

/* Put the children there are now behind the fixed ones. On failure -1 and an exception. */
static int
add_children(Polled *polled, PyObject *ups)
{
    Py_ssize_t entry = 0;
    PyObject *pid, *fd;
    nfds_t needed = polled->fixed + (nfds_t)PyDict_GET_SIZE(ups);
    if (needed > polled->room) {
        struct pollfd *more = PyMem_Resize(polled->fds, struct pollfd, needed + 16);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        polled->fds = more;
        polled->room = needed + 16;
    }
    polled->count = polled->fixed;
    while (PyDict_Next(ups, &entry, &pid, &fd))
        polled->fds[polled->count++] = (struct pollfd){(int)PyLong_AsLong(fd), POLLIN, 0};
    return 0;
}

/* The children that have said something, as (HEAR, died, pid, ...). NULL if none has; NULL and an
 * exception on failure. */
static PyObject *
talkers(const Polled *polled, PyObject *ups, int died)
{
    nfds_t at = polled->fixed;
    Py_ssize_t entry = 0, count = 0;
    PyObject *pid, *fd, *what;
    for (nfds_t i = at; i < polled->count; i++)
        count += polled->fds[i].revents != 0;
    if (count == 0 || (what = PyTuple_New(2 + count)) == NULL)
        return NULL;
    PyTuple_SET_ITEM(what, 0, PyLong_FromLong(HEAR));
    PyTuple_SET_ITEM(what, 1, PyLong_FromLong(died));
    count = 2;
    while (PyDict_Next(ups, &entry, &pid, &fd)) {
        if (polled->fds[at++].revents)
            PyTuple_SET_ITEM(what, count++, Py_NewRef(pid));
    }
    return what;
}

/* Returns what happened; NULL if this is a new process (`is_born` is set then), or if there is an
 * exception. */
static PyObject *
loop(Forker *f, Polled *polled, int *is_born)
{
    for (;;) {
        int died = 0, patience = -1;
        if (!isinf(f->refill_at)) {
            double left = ceil((f->refill_at - now()) * 1000);
            patience = left < 0 ? 0 : (int)left;
        }
        if (add_children(polled, f->ups) < 0)
            return NULL;
        int ready = poll_now(polled->fds, polled->count, patience);
        if (ready == -1 && errno != EINTR)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (ready < -1)
            return NULL;
        if (ready < 0)
            continue;
        struct pollfd *wake = &polled->fds[0], *comm = &polled->fds[1];
        if (wake->revents) {
            char signs[256];
            died = read(f->wake_in, signs, sizeof signs) > 0;
        }
        for (nfds_t i = 2; i < polled->fixed; i++) {
            if (polled->fds[i].revents)
                return Py_BuildValue("(ii)", MORE, died);
        }
        /* Heard first: what a child said comes before the news of its death. */
        PyObject *said = talkers(polled, f->ups, died);
        if (said == NULL && PyErr_Occurred())
            return NULL;
        /* Nobody is put off by a child that never stops talking. */
        if (said != NULL && (comm->revents || (!isinf(f->refill_at) && now() >= f->refill_at))) {
            Py_DECREF(said);
            return Py_BuildValue("(ii)", MORE, died);
        }
        if (said != NULL)
            return said;
        if (died) {
            int found = reap(f);
            if (found < 0)
                return NULL;
            if (found)
                return Py_BuildValue("(i)", DIED);
            plan_refill(f, 0);
            if (!comm->revents)
                continue;  /* an owner that was told may have asked for the next process meanwhile,
                            * and a request goes before a standby */
        }
        int made = 0;
        if (comm->revents) {
            char batch[PAD];
            int fds[MAX_FDS], fd_count;
            struct ucred sender;
            ssize_t got = receive(f->comm, batch, PAD, MSG_DONTWAIT, fds, &fd_count, &sender);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (got < 0)
                return not_read(READ, f->comm);
            if (got != PAD || fd_count != 2 || memcmp(batch, PyBytes_AS_STRING(f->fork_batch), PAD))
                return bytes_and_fds(READ, f->comm, batch, got, fds, fd_count, &sender);
            PySet_Clear(f->waiting);  /* who asks by FORK has found the queue empty */
            if (PyDict_GET_SIZE(f->status) >= f->crowd)
                return Py_BuildValue("(iii)", ASKED, fds[0], fds[1]);
            made = fork_asked(f, fds[0], fds[1]);
            if (made < 0)  /* who asked gets the words of the hook that forbids it */
                return Py_BuildValue("(iiiN)", REFUSED, fds[0], fds[1], current_exception());
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

/* Serve as a forker until something happens that is not usual. That is written to `state`, and 0
 * returned. Returns -1 with an exception, 1 in a new process. */
static int
turn(PyObject *state)
{
    Forker f;
    if (take_apart(state, &f) < 0)
        return -1;
    Polled polled = {.fixed = 2 + (nfds_t)PyTuple_GET_SIZE(f.watched)};
    polled.room = polled.fixed + (nfds_t)PyDict_GET_SIZE(f.ups) + 16;
    if ((polled.fds = PyMem_New(struct pollfd, polled.room)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    polled.fds[0] = (struct pollfd){f.wake_in, POLLIN, 0};
    polled.fds[1] = (struct pollfd){f.comm, POLLIN, 0};
    PyObject *what = NULL;
    int is_born = 0;
    if (is_plain(f.socket_class) < 0)  /* asked before any fork, so that no child must find out */
        goto end;
    for (nfds_t i = 2; i < polled.fixed; i++) {
        int fd, events;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(f.watched, (Py_ssize_t)i - 2), "ii", &fd, &events))
            goto end;
        polled.fds[i] = (struct pollfd){fd, (short)events, 0};
    }
    what = loop(&f, &polled, &is_born);
end:
    if (is_born)
        return 1;  /* `polled.fds` is not freed: that would touch a page */
    PyMem_Free(polled.fds);
    return what == NULL ? -1 : leave(state, &f, what);
}

PyObject *
serve(PyObject *self, PyObject *args)
{
    PyObject *step, *first, *job, *said = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO:serve", &step, &first))
        return NULL;
    for (;;) {
        if (said == NULL && is_loop_state(first))
            job = Py_NewRef(first);
        else
            job = PyObject_CallOneArg(step, said == NULL ? Py_None : said);
        Py_XDECREF(said);
        if (job == NULL)
            return NULL;
        if (!is_loop_state(job))
            break;
        said = job;
        int turned = turn(said);
        if (turned < 0) {
            Py_DECREF(said);
            said = current_exception();
        }
        if (turned <= 0)
            continue;
        /* This reference is never given back. If the forker's state were finalised in this process,
         * that would touch its memory, and close fds whose numbers are other files by then. */
        Py_INCREF(said);
        PyObject *told = live();
        if (told == NULL)
            return NULL;
        if (!PyTuple_Check(told)) {
            job = told;
            break;
        }
        say_what(said, told);
    }
    int code = run_last(job);
    if (code == 0 || code == 120)
        _exit(code);
    Py_DECREF(job);
    if (code < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
poll_(PyObject *self, PyObject *args)
{
    PyObject *given, *patience, *sequence, *found = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO:poll", &given, &patience)
        || (sequence = PySequence_Fast(given, "poll takes pairs of numbers")) == NULL)
        return NULL;
    nfds_t count = (nfds_t)PySequence_Fast_GET_SIZE(sequence);
    struct pollfd *polled = PyMem_New(struct pollfd, count + 1);
    long limit = patience == Py_None ? -1 : PyLong_AsLong(patience);
    if (polled == NULL)
        PyErr_NoMemory();
    for (nfds_t i = 0; i < count && !PyErr_Occurred(); i++) {
        int fd, events;
        PyObject *pair = PySequence_Fast_GET_ITEM(sequence, (Py_ssize_t)i);
        if (PyTuple_Check(pair) && PyArg_ParseTuple(pair, "ii", &fd, &events))
            polled[i] = (struct pollfd){fd, (short)events, 0};
        else if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "poll takes pairs of numbers");
    }
    if (!PyErr_Occurred()) {
        int ready = poll_now(polled, count, limit > INT_MAX ? INT_MAX : (int)limit);
        if (ready == -1 && errno != EINTR)
            PyErr_SetFromErrno(PyExc_OSError);
        else if (ready != -2)
            found = PyList_New(0);
        for (nfds_t i = 0; ready > 0 && i < count && found != NULL; i++) {
            if (polled[i].revents) {
                PyObject *pair = Py_BuildValue("(ii)", polled[i].fd, (int)polled[i].revents);
                if (pair == NULL || PyList_Append(found, pair) < 0)
                    Py_CLEAR(found);
                Py_XDECREF(pair);
            }
        }
    }
    PyMem_Free(polled);
    Py_DECREF(sequence);
    return found;
}

PyObject *
listen_(PyObject *self, PyObject *number)
{
    int fd = (int)PyLong_AsLong(number);
    (void)self;
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    hear_deaths(fd);
    Py_RETURN_NONE;
}
