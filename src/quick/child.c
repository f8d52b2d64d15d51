/* A new process: from its birth to the function that it runs, as long as all of that is usual.
 *
 * The process closes what is its forker's. If it is a standby that was told nothing yet, it
 * rehearses. It reads its first batch, and what that says to run is called with no frame of Python
 * below it. A batch that says anything else is not obeyed here: the server gets it whole.
 */
#include "quick.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a new process knows of itself until its first batch has come, and that batch. They lie side
 * by side, since each page that is written to is copied. */
static struct {
    int comm, up, forker, standby, root;
    PyObject *births, *socket_class;
    PyObject *rights;
    struct ucred sender;
    int fds[MAX_FDS];
    char fork_batch[PAD];
    char batch[LARGE];
} born;

static PyObject *here, *resolve;
/* Where the slots of `here` are. */
typedef struct {
    Py_ssize_t up, forker, spoke, lifeline, kind, doing, pending;
} HereSlots;
static HereSlots here_slots;
static PyObject *s_worker, *s_prepared, *s_nothing;
static PyObject *minus_one;

int
set_up_child(void)
{
    static const struct { PyObject **object; const char *text; } names[] = {
        {&s_worker, "worker"}, {&s_prepared, "prepared"}, {&s_nothing, ""},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((*names[i].object = PyUnicode_InternFromString(names[i].text)) == NULL)
            return -1;
    }
    return (minus_one = PyLong_FromLong(-1)) ? 0 : -1;
}

int
child_knows(const Known *known)
{
    PyObject *class = (PyObject *)Py_TYPE(known->here);
    HereSlots found;
    if (!(found.up = slot(class, "up")) || !(found.forker = slot(class, "forker"))
        || !(found.spoke = slot(class, "spoke")) || !(found.lifeline = slot(class, "lifeline"))
        || !(found.kind = slot(class, "kind")) || !(found.doing = slot(class, "doing"))
        || !(found.pending = slot(class, "pending")))
        return -1;
    here_slots = found;
    here = Py_NewRef(known->here);
    resolve = Py_NewRef(known->resolve);
    return 0;
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
    born.births = f->births;
    born.rights = f->rights;
    born.socket_class = f->socket_class;
    memcpy(born.fork_batch, PyBytes_AS_STRING(f->fork_batch), PAD);
}

/* -- what it runs ------------------------------------------------------------------------------ */

/* The same as resolve() of _child/here.py, but quick for `module.name` of a loaded module. */
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

/* Obeys the frame RUN as _child/commands.py does: returns what is to be called. Owns comm. */
static PyObject *
job_for(int comm, const char *name, Py_ssize_t length)
{
    char shown[16] = {0};
    memcpy(shown, name, (size_t)(length < 15 ? length : 15));
    prctl(PR_SET_NAME, shown);
    PyObject *doing = PyUnicode_DecodeUTF8(name, length, "replace");
    if (doing == NULL)
        return NULL;
    set_slot(here, here_slots.doing, doing);
    PyObject *function = find(name, length);
    if (function == NULL)
        return NULL;
    PyObject *sock = socket_of(born.socket_class, comm);
    if (sock == NULL) {
        Py_DECREF(function);
        return NULL;
    }
    set_slot(here, here_slots.kind, Py_NewRef(s_worker));
    PyObject *job = PyMethod_New(function, sock);  /* job() is function(sock) */
    Py_DECREF(function);
    Py_DECREF(sock);
    return job;
}

/* -- its life up to the first batch ------------------------------------------------------------ */

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
    else  /* a socket that is dropped open warns of that */
        close_socket(PyMethod_GET_SELF(job));
    close(ends[1]);
    Py_XDECREF(job);
    PyErr_Restore(type, value, traceback);
    prctl(PR_SET_NAME, "ef-standby");
    if (failed)
        return -1;
    set_slot(here, here_slots.doing, Py_NewRef(s_nothing));
    set_slot(here, here_slots.kind, Py_NewRef(s_prepared));
    return 0;
}

/* Does what discard_pending of _child/commands.py does, then unblocks all signals. */
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

/* Where the frame RUN starts in a usual first batch: one that says to run something, neither linked
 * nor alone, with nothing before it but frames about the surroundings. NULL for any other batch. */
static const char *
run_frame(const char *batch, ssize_t size, int fds)
{
    const unsigned char *frame = (const unsigned char *)batch, *end;
    if (size < PAD || memcmp(frame, born.fork_batch, 3) || frame[3] != fds
        || number_at(frame + 8) || number_at(frame + 4) > size - HEAD)
        return NULL;
    end = frame + HEAD + number_at(frame + 4);
    for (frame += HEAD; end - frame > FRAME; frame += FRAME + number_at(frame + 1)) {
        if (number_at(frame + 1) > end - frame - FRAME)
            return NULL;
        if (frame[0] == RUN) {
            int last = frame + FRAME + number_at(frame + 1) == end;
            int unlinked = end - frame > FRAME + 1 && frame[FRAME] == '-';
            return last && unlinked ? (const char *)frame : NULL;
        }
        if (!is_surrounding(frame[0]))
            return NULL;
    }
    return NULL;
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
    set_slot(here, here_slots.up, up);
    set_slot(here, here_slots.forker, forker);
    set_slot(here, here_slots.spoke, Py_NewRef(Py_False));
    if (born.root)
        set_slot(here, here_slots.lifeline, Py_NewRef(minus_one));
    set_slot(here, here_slots.kind, Py_NewRef(s_prepared));
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
    if (wait && born.standby && rehearse() < 0)
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

/* The same as `live`, but NULL and an exception on failure. */
static PyObject *
first_job(void)
{
    int comm = born.comm, count;
    if (begin() < 0)
        return NULL;
    ssize_t got = first_batch(&count);
    if (got < 0)
        return got == -1 ? not_read(CHILD, comm) : NULL;
    const char *batch = born.batch, *run = run_frame(batch, got, count);
    PyObject *pending = *at_slot(here, here_slots.pending);
    if (run == NULL || *at_slot(here, here_slots.spoke) == Py_True || pending == NULL
        || !PyList_Check(pending) || PyList_GET_SIZE(pending)
        || !rights_are_known(born.rights, &born.sender, born.batch + got, (size_t)(LARGE - got)))
        return bytes_and_fds(CHILD, comm, batch, got, born.fds, count, &born.sender);
    if (run > batch + HEAD && apply_surroundings(batch + HEAD, run, born.fds, count) < 0)
        return NULL;
    unblock_signals();
    int on = 1;  /* the mark that take_to_work of _child/here.py sets */
    setsockopt(born.up, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on);
    name_senders(comm, 0);
    return job_for(comm, run + FRAME + 1, number_at((const unsigned char *)run + 1) - 1);
}

PyObject *
live(void)
{
    PyObject *job = first_job();
    if (job != NULL)
        return job;
    return Py_BuildValue("(iiN[]O)", CHILD, born.comm, current_exception(), Py_None);
}
