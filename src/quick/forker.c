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

/* What is polled: the news of deaths and comm, what shows that owners end, and the ways up of all
 * children. */
typedef struct {
    struct pollfd *fds;
    nfds_t owners, count, room;
} Polled;

/* Put down what there is to poll now. On failure -1 and an exception. */
static int
collect(Polled *polled, const Forker *f)
{
    Py_ssize_t entry = 0;
    PyObject *pid, *fd;
    nfds_t owners = (nfds_t)PyDict_GET_SIZE(f->watched);
    nfds_t needed = 2 + owners + (nfds_t)PyDict_GET_SIZE(f->ups);
    if (needed > polled->room) {
        struct pollfd *more = PyMem_Resize(polled->fds, struct pollfd, needed + 16);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        polled->fds = more;
        polled->room = needed + 16;
    }
    polled->fds[0] = (struct pollfd){f->wake_in, POLLIN, 0};
    polled->fds[1] = (struct pollfd){f->comm, POLLIN, 0};
    polled->owners = polled->count = 2;
    while (PyDict_Next(f->watched, &entry, &fd, &pid)) {
        /* Of a status socket only the end is of interest: what its owner writes there is nobody's. */
        PyObject *status = PyDict_GetItemWithError(f->status, pid);
        int number = (int)PyLong_AsLong(fd);
        short events = status != NULL && PyLong_AsLong(status) == number ? 0 : POLLIN;
        polled->fds[polled->owners++] = (struct pollfd){number, events, 0};
    }
    polled->count = polled->owners;
    entry = 0;
    while (PyDict_Next(f->ups, &entry, &pid, &fd))
        polled->fds[polled->count++] = (struct pollfd){(int)PyLong_AsLong(fd), POLLIN, 0};
    return PyErr_Occurred() ? -1 : 0;
}

/* Hear the children that have said something. What is more than a usual LINK is for the server:
 * (HEAR, died, pid, ...). NULL if there is none such; NULL and an exception on failure. */
static PyObject *
talkers(const Polled *polled, const Forker *f, int died)
{
    nfds_t at = polled->owners;
    Py_ssize_t entry = 0;
    PyObject *pid, *fd, *what = NULL;
    for (; PyDict_Next(f->ups, &entry, &pid, &fd); at++) {
        int heard = polled->fds[at].revents == 0 ? 1 : hear_link(f, pid, polled->fds[at].fd);
        int failed = heard < 0;
        if (heard == 0 && what == NULL)
            failed = (what = Py_BuildValue("[ii]", HEAR, died)) == NULL;
        if (heard == 0 && !failed)
            failed = PyList_Append(what, pid) < 0;
        if (failed) {
            Py_CLEAR(what);
            return NULL;
        }
    }
    if (what != NULL)
        Py_SETREF(what, PyList_AsTuple(what));
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
        if (collect(polled, f) < 0)
            return NULL;
        int ready = poll_now(polled->fds, polled->count, patience);
        if (ready == -1 && errno != EINTR)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (ready < -1)
            return NULL;
        if (ready < 0) {  /* by the news of a death, most likely: it is there to be read */
            for (nfds_t i = 0; i < polled->count; i++)
                polled->fds[i].revents = i == 0 ? POLLIN : 0;
        }
        struct pollfd *wake = &polled->fds[0], *comm = &polled->fds[1];
        if (wake->revents) {
            char signs[256];
            died = read(f->wake_in, signs, sizeof signs) > 0;
        }
        for (nfds_t i = 2; i < polled->owners; i++) {
            if (polled->fds[i].revents)
                return Py_BuildValue("(ii)", MORE, died);
        }
        /* Heard first: what a child said comes before the news of its death. */
        PyObject *said = talkers(polled, f, died);
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
            if (f->spawns && got == PAD && batch[HEAD] == SPAWN && fd_count > 0
                && !memcmp(batch, PyBytes_AS_STRING(f->fork_batch), 3)) {
                PyObject *what = command_asked(f, batch, fds, fd_count, &sender);
                if (what != Py_None)
                    return what;
                Py_DECREF(what);
                continue;
            }
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
    Polled polled = {.fds = NULL};
    PyObject *what = NULL;
    int is_born = 0;
    if (is_plain(f.socket_class) >= 0)  /* asked before any fork, so that no child must find out */
        what = loop(&f, &polled, &is_born);
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
