/* A new process: from its birth to its first batch, as long as all of that is usual.
 *
 * The process closes what is its forker's. If it is a standby that was told nothing yet, it
 * rehearses. It reads its first batch, and what that says to run is called with no frame of Python
 * below it. A batch that says anything else is not obeyed here: the server gets it whole.
 */
#include "quick.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a new process knows of itself until its first batch has come, and that batch. They lie side
 * by side, since each page that is written to is copied. */
static struct {
    int comm, up, forker, standby, root, executes;
    PyObject *births, *socket_class;
    PyObject *rights;
    struct ucred sender;
    int fds[MAX_FDS];
    char fork_batch[PAD];
    char batch[LARGE];
} born;

/* For how long, in milliseconds; as in _child/rehearsal.py. */
enum { PAUSE = 3 };
static PyObject *s_prepared, *s_nothing, *minus_one;
/* A value that standbys rehearse with, as it travels. */
static PyObject *rehearsed;

int
set_up_child(void)
{
    PyObject *value = Py_BuildValue("(is[d]{sO})", 1, "value", 0.5, "key", Py_None);
    rehearsed = value == NULL ? NULL : plain(NULL, value);
    Py_XDECREF(value);
    s_prepared = PyUnicode_InternFromString("prepared");
    s_nothing = PyUnicode_InternFromString("");
    minus_one = PyLong_FromLong(-1);
    return rehearsed && s_prepared && s_nothing && minus_one ? 0 : -1;
}

/* -- its birth --------------------------------------------------------------------------------- */

static void
close_fds_of(PyObject *dict)
{
    Py_ssize_t entry = 0;
    PyObject *pid, *fd;
    while (PyDict_Next(dict, &entry, &pid, &fd))
        close((int)PyLong_AsLong(fd));
}

static void
close_fds_in(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        close((int)PyLong_AsLong(PyTuple_GET_ITEM(tuple, i)));
}

static void
close_held(PyObject *dict)
{
    Py_ssize_t entry = 0;
    PyObject *pid, *fds;
    while (PyDict_Next(dict, &entry, &pid, &fds)) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(fds); i++)
            close((int)PyLong_AsLong(PyList_GET_ITEM(fds, i)));
    }
}

/* Does to the system what Children.forget and Server.become do. */
void
be_born(const Forker *f, int comm, int up, int standby)
{
    close(f->comm);
    close(f->wake_in);
    close(f->wake_out);
    if (f->queue >= 0)
        close(f->queue);
    close_fds_of(f->status);
    close_fds_of(f->ups);
    close_fds_of(f->ends);
    close_fds_in(f->others);
    close_held(f->held);
    hear_deaths(-1);
    if (f->root) {
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
    }
    prctl(PR_SET_NAME, standby ? "ef-standby" : "ef-prepared");
    born.comm = comm;
    born.up = up;
    born.forker = getppid();  /* another pid if the forker is gone already: nobody is asked then */
    born.standby = standby;
    born.root = f->root;
    born.executes = f->executes;
    born.births = f->births;
    born.rights = f->rights;
    born.socket_class = f->socket_class;
    memcpy(born.fork_batch, PyBytes_AS_STRING(f->fork_batch), PAD);
}

/* -- its life up to the first batch ------------------------------------------------------------ */

/* Take a value and run a function that does next to nothing. Owns comm. */
static int
run_rehearsal(int comm)
{
    static const char name[] = "earlyfork._child.here.rehearsal";
    PyObject *none = PyList_New(0), *values = PyList_New(0), *function = NULL, *job = NULL;
    PyObject *sock = socket_of(born.socket_class, AF_UNIX, SOCK_STREAM, 0, comm);
    int done = -1;
    if (sock != NULL && none != NULL && values != NULL
        && take_value(values, ARG_PLAIN, PyBytes_AS_STRING(rehearsed), PyBytes_GET_SIZE(rehearsed),
                      born.socket_class, none) == 0
        && (function = function_for(name, sizeof name - 1)) != NULL
        && (job = job_of(function, sock, values)) != NULL) {
        Py_SETREF(job, job_of(function, sock, none));
        done = job == NULL ? -1 : run_job(job);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (sock == NULL)
        close(comm);
    else  /* a socket that is dropped open warns of that */
        close_socket(sock);
    Py_XDECREF(sock);
    Py_XDECREF(none);
    Py_XDECREF(values);
    Py_XDECREF(function);
    Py_XDECREF(job);
    PyErr_Restore(type, value, traceback);
    return done;
}

/* In a standby: do once all that a run does. The pages that a run touches are this process's own
 * after that. */
static int
rehearse(void)
{
    int ends[2], none[4], count;
    char batch[PAD];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return 0;  /* a rehearsal is for speed only */
    if (send(ends[1], born.fork_batch, PAD, MSG_NOSIGNAL | MSG_DONTWAIT) != PAD
        || receive(ends[0], batch, PAD, MSG_DONTWAIT, none, &count, NULL) != PAD) {
        close(ends[0]);
        close(ends[1]);
        return 0;
    }
    born.sender = (struct ucred){born.forker, getuid(), getgid()};
    rights_are_known(born.rights, &born.sender, born.batch, sizeof born.batch);
    int failed = run_rehearsal(ends[0]) < 0;
    if (failed && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        failed = 0;
    }
    close(ends[1]);
    prctl(PR_SET_NAME, "ef-standby");
    if (failed)
        return -1;
    set_here(HERE_DOING, Py_NewRef(s_nothing));
    return 0;
}

/* In a standby that has waited for a moment: do what `here.also` says, if anything. Where one is
 * taken as soon as it is there, that would take the time of those that follow. */
static int
rehearse_more(void)
{
    struct pollfd comm = {.fd = born.comm, .events = POLLIN};
    PyObject *also = *here_at(HERE_ALSO);
    if (also == NULL || also == Py_None || poll(&comm, 1, PAUSE) != 0)
        return 0;
    PyObject *done = PyObject_CallNoArgs(also);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The first thing that a new process does: put right what `here` says of it. */
static int
begin(void)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(born.births); i++) {
        PyObject *done = PyObject_CallNoArgs(PyTuple_GET_ITEM(born.births, i));
        if (done == NULL)
            return -1;
        Py_DECREF(done);
    }
    PyObject *up = PyLong_FromLong(born.up), *forker = PyLong_FromLong(born.forker);
    if (up == NULL || forker == NULL)
        return -1;
    set_here(HERE_UP, up);
    set_here(HERE_FORKER, forker);
    set_here(HERE_SPOKE, Py_NewRef(Py_False));
    if (born.root)
        set_here(HERE_LIFELINE, Py_NewRef(minus_one));
    set_here(HERE_KIND, Py_NewRef(s_prepared));
    return 0;
}

/* Wait for the first batch. Returns the number of bytes that came; -1 and errno; -2 and an
 * exception. */
static ssize_t
first_batch(int *count)
{
    int comm = born.comm;
    char *batch = born.batch;
    /* The batch may have been sent before this process was there: no time to rehearse then. */
    ssize_t got = receive(comm, batch, PAD, MSG_DONTWAIT, born.fds, count, &born.sender);
    int wait = got < 0 && (errno == EAGAIN || errno == EINTR);
    if (wait && born.standby && (rehearse() < 0 || rehearse_more() < 0))
        return -2;
    while (wait) {
        Py_BEGIN_ALLOW_THREADS
        got = receive(comm, batch, PAD, 0, born.fds, count, &born.sender);
        Py_END_ALLOW_THREADS
        wait = got < 0 && errno == EINTR;
        if (wait && PyErr_CheckSignals() < 0)
            return -2;
    }
    if (got == PAD && !memcmp(batch, born.fork_batch, 3)) {
        uint32_t size = number_at((unsigned char *)batch + 4) + HEAD;
        if (size > PAD && size <= LARGE) {
            struct ucred sender;
            int more[MAX_FDS], more_count;
            ssize_t rest = receive(comm, batch + PAD, size - PAD, MSG_WAITALL, more, &more_count,
                                   &sender);
            got += rest > 0 ? rest : 0;
            for (int i = 0; i < more_count; i++)
                close(more[i]);
            if (more_count > 0 || memcmp(&sender, &born.sender, sizeof sender))
                born.sender.pid = 0;  /* two have sent it: nobody is trusted */
        }
    }
    return got;
}

/* Whether the next batch is there, and says RUN. Then this process goes on without its owner. */
static int
run_waits(int comm)
{
    char batch[PAD];
    ssize_t got = recv(comm, batch, PAD, MSG_PEEK | MSG_DONTWAIT);
    return are_usual(batch, got, born.fork_batch, -1, 0) == RUNS;
}

/* The same as `live`, but NULL and an exception on failure. */
static PyObject *
first_job(void)
{
    int comm = born.comm, count;
    if (begin() < 0)
        return NULL;
    for (;;) {
        ssize_t got = first_batch(&count);
        if (got < 0)
            return got == -1 ? not_read(CHILD, comm) : NULL;
        PyObject *pending = *here_at(HERE_PENDING);
        int kind = are_usual(born.batch, got, born.fork_batch, count, born.executes);
        if (kind == UNUSUAL || *here_at(HERE_SPOKE) == Py_True || pending == NULL
            || !PyList_Check(pending) || (kind == PREPARES && !run_waits(comm))
            || !rights_are_known(born.rights, &born.sender, born.batch + got,
                                 (size_t)(LARGE - got)))
            return bytes_and_fds(CHILD, comm, born.batch, got, born.fds, count, &born.sender);
        Orders orders = {comm, born.up, born.socket_class, born.batch, born.fds, count};
        if (kind == RUNS)
            return obey(&orders);
        if (prepare(&orders) < 0)
            return NULL;
    }
}

PyObject *
live(void)
{
    PyObject *job = first_job();
    if (job != NULL)
        return job;
    return Py_BuildValue("(iiN[]O)", CHILD, born.comm, current_exception(), Py_None);
}
