/* What the units of earlyfork._quick share; read this first.
 *
 * The part in C is optional: Python does the same without it. After a fork each page that is
 * written to is copied first, on both sides, and Python writes to every object that it looks at: a
 * turn of the loop of _child/server.py touches a hundred pages in the template and two hundred in
 * the new process. So what nearly every turn consists of (a child died, a process is asked for, a
 * standby is due) and what nearly every new process does (it is told to run a function) is done
 * here. Whatever else happens is handed to _child/server.py with nothing lost.
 *
 * Nothing is decided here, and no state is kept between two calls.
 *
 * A unit uses the ones before it and none behind it:
 *
 *   system.c        what is asked of the kernel
 *   objects.c       what is asked of Python's objects
 *   surroundings.c  a new process gets its variables and path
 *   loop_state.c    what the loop is given, and what it leaves
 *   ending.c        what is done at the end of a function that was run
 *   child.c         a new process, from its birth to the end of what it runs
 *   children.c      a forker's children: forking, noting and reaping them
 *   forker.c        the loop
 *   first_line.c    the double fork of a main program's first line
 *   own.c           an fd with an owner
 *   owner.c         what an owner asks of the system, and the second line of a linked worker
 *   module.c        the module
 *
 * What only its own unit uses is static there, and not in this file.
 */
#ifndef EARLYFORK_QUICK_H
#define EARLYFORK_QUICK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if !defined(__linux__) || defined(Py_GIL_DISABLED)
#error "made for Linux and for interpreters with a GIL: without it the Python code does its work"
#endif

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

/* _shared/wire.py's numbers; tests/test_quick.py holds the two together. */
enum { PAD = 256, HEAD = 12, FRAME = 5 };
enum { RUN = 10, ENV = 11, PATH = 13, PID = 64, EXIT = 67, NO_FORK = 68 };
/* As many fds as one message can carry: the kernel's SCM_MAX_FD. No header of the C library has it,
 * and it has stayed the same since Linux 2.6.38. */
enum { MAX_FDS = 253 };
/* Batches up to this size are looked at here. */
enum { LARGE = 8192 };

/* What happened, for _child/quick_loop.py. */
enum { READ, HEAR, DIED, ASKED, CROWDED, MORE, CHILD };

/* The compiler's option hides what is defined; this tells it that what is declared is hidden too.
 * Calls between units then go straight there, and not through a table. */
#pragma GCC visibility push(hidden)

/* -- system.c ---------------------------------------------------------------------------------- */

/* Seconds on the clock that only goes forward. */
double now(void);

/* Four bytes, the highest first. */
uint32_t number_at(const unsigned char *at);
void put_number(unsigned char *at, uint32_t number);

/* A frame with a decimal number to the owner that waits at this status socket. */
void tell_owner(int fd, int op, long number);

/* One message with its fds, close-on-exec. `fds` has room for MAX_FDS, or for as many as can come.
 * -1 and errno; EMFILE when fds were lost on the way. */
ssize_t receive(int fd, void *data, size_t size, int flags, int *fds, int *count);

/* One message with one fd or two; does not wait. -1 and errno. */
int send_with_fds(int fd, const void *data, size_t size, const int *fds, int count);

/* Have the death of a child written to an fd from now on; -1: not any more. */
void hear_deaths(int fd);

/* The way up of a child to its forker: what the forker hears by, and what the child speaks by. -1
 * and errno. */
int up_pair(int pair[2]);

/* Whether something waits in a socket that nothing more shall come to: in a stream, and in a way
 * up, where an empty message counts as well. */
int holds_bytes(int fd);
int holds_message(int fd);

/* poll() of several fds that no signal gets between: one that comes after the handlers of Python were
 * looked at ends it. -1 and errno. -2: an exception of such a handler. */
int poll_now(struct pollfd *polled, nfds_t count, int patience);

/* os.fork() without its frames. -1 and errno. */
pid_t fork_now(void);

/* -- objects.c --------------------------------------------------------------------------------- */

/* When the module is loaded. -1 and an exception. */
int set_up_objects(void);

/* Where a slot of a class is in its objects; 0 and an exception if it has none of that name. To go
 * there directly touches one page; an attribute's way there touches five. */
Py_ssize_t slot(PyObject *class, const char *name);

static inline PyObject **
at_slot(PyObject *object, Py_ssize_t at)
{
    return (PyObject **)((char *)object + at);
}

static inline void
set_slot(PyObject *object, Py_ssize_t at, PyObject *value_to_own)
{
    PyObject *before = *at_slot(object, at);
    *at_slot(object, at) = value_to_own;
    Py_XDECREF(before);
}

/* Whether it is the stdlib's own, whose slots are known then; -1: an exception. Found out once,
 * when it is first asked, and not on the first line of a main program: that does without the
 * module. */
int is_plain(PyObject *socket_class);

/* The class for which that was true, borrowed; NULL before it was asked. */
PyObject *plain_socket_class(void);

/* socket_class(AF_UNIX, SOCK_STREAM, 0, fd); owns the fd. */
PyObject *socket_of(PyObject *socket_class, int fd);

/* Without the frames of its `close`, or of a `detach` in Python. */
void close_socket(PyObject *sock);

/* A global of a loaded module; NULL without an exception if it is not that simple. */
PyObject *global_of(const char *module, Py_ssize_t module_length, const char *name,
                    Py_ssize_t length);

PyObject *list_of(const int *fds, int count);

/* (what, comm, data, fds) */
PyObject *bytes_and_fds(int what, int comm, const char *data, ssize_t size, const int *fds,
                        int count);

/* The same when nothing came: b"" at the end of the stream, None for fds that found no place. An
 * exception for any other errno. */
PyObject *not_read(int what, int comm);

/* The exception that is set, which is not set any more. */
PyObject *current_exception(void);

/* -- surroundings.c ---------------------------------------------------------------------------- */

int set_up_surroundings(void);

/* What obeys a frame about the surroundings: SURROUND of _child/commands.py, op -> function. */
void surroundings_know(PyObject *surround);

/* Whether an op is about the surroundings. */
int is_surrounding(int op);

/* Do what stands in a batch before its frame RUN. -1 and an exception. */
int apply_surroundings(const char *at, const char *end, const int *fds, int count);

/* -- loop_state.c ------------------------------------------------------------------------------ */

/* What the loop is given: the members have the names of the slots of LoopState in
 * _child/quick_loop.py. Its objects are borrowed from there. */
typedef struct {
    int comm, wake_in, wake_out;
    int queue;                  /* -1: there is none */
    PyObject *status;           /* dict: pid -> the far end of its status socket */
    PyObject *ups;              /* dict: pid -> where it is heard */
    PyObject *ends;             /* dict: pid -> a copy of its end of that */
    PyObject *waiting;          /* set: standbys not known to be taken */
    PyObject *others;           /* tuple: fds that are no child's business either */
    PyObject *watched;          /* tuple of (fd, events): any event there is the server's */
    PyObject *births;           /* tuple of functions that a new process calls first */
    PyObject *socket_class;     /* what its function gets */
    PyObject *fork_batch;       /* bytes: a request for a process without more */
    int standby, crowd, generation;
    double refill_at, refill_after;
    int nursery;                /* its pid, or 0 */
    int root;                   /* whether SIGTERM is blocked here, and in no child */
    int careful;                /* whether somebody else may have waited for a child */
} Forker;

/* The class of what the loop is given. -1 and an exception, with nothing changed. */
int loop_knows(PyObject *loop_state);

int is_loop_state(PyObject *object);

/* Read all slots. -1 and an exception if one is not set, or is of the wrong kind. */
int take_apart(PyObject *state, Forker *f);

/* Write what the loop leaves: `what` happened, which is owned here, and what has changed of the
 * rest. -1 and an exception. */
int leave(PyObject *state, const Forker *f, PyObject *what);

/* The same in a new process, for which nothing of the rest holds. */
void say_what(PyObject *state, PyObject *what);

/* -- ending.c ---------------------------------------------------------------------------------- */

/* What a new process looks at: `here` and `resolve` of _child/here.py, how many functions `atexit`
 * has, gc.get_objects, `refuse_unfinished` of _child/ending.py, and the classes of a usual stream and
 * of all files. */
typedef struct {
    PyObject *here, *resolve, *count_callbacks, *get_objects, *refuse_unfinished;
    PyObject *text_class, *file_class;
} Known;

int set_up_ending(void);

/* -1 and an exception, with nothing changed. */
int ending_knows(const Known *known);

/* Call it, and do what is usual at the end: 0, or 120 when a stream could not be written; 1:
 * something is special about the end; -1: an exception. */
int run_job(PyObject *job);

/* The same as the last thing that this process does: what is called is kept. */
int run_last(PyObject *job);

/* -- child.c ----------------------------------------------------------------------------------- */

int set_up_child(void);

/* -1 and an exception, with nothing changed. */
int child_knows(const Known *known);

/* In a new process: nothing of the forker stays open, and what it needs of it is noted. */
void be_born(const Forker *f, int comm, int up, int standby);

/* The life of a new process up to its first batch: what is to be called, or (CHILD, comm, data,
 * fds), with an exception as the data if there was one. NULL: no memory even for that. */
PyObject *live(void);

/* -- children.c -------------------------------------------------------------------------------- */

/* A process that somebody asked for; 1 in it. Owns both fds. */
int fork_asked(Forker *f, int comm, int status);

/* One standby into the queue; 1 in it. */
int refill(Forker *f);

/* Fork standbys when so many seconds have passed, if fewer wait than should. */
void plan_refill(Forker *f, double pause);

/* Tell the owners of those that ended; 1: there is one that the server must see to. -1 and an
 * exception. */
int reap(Forker *f);

/* -- own.c ------------------------------------------------------------------------------------- */

/* The class Own; NULL before Python asked for it. What follows is for its instances alone. */
PyTypeObject *type_of_own(void);

/* Own an fd, which is closed if this fails: -1 and an exception. */
int own(PyObject *object, int fd);

/* Whether the number is still that of the fd that was owned. */
int is_own(PyObject *object);

int own_fd(PyObject *object);

/* Its fd has another owner now. */
void give(PyObject *object);

/* The same fd out of 0 to 2; what it was given is closed if it must move. -1 and errno. */
int above_streams(int fd);

PyObject *identity(PyObject *self, PyObject *number);
PyObject *own_class(PyObject *self, PyObject *ignored);

/* -- forker.c, first_line.c and owner.c: functions of the module, described in module.c -------- */

PyObject *serve(PyObject *self, PyObject *args);
PyObject *listen_(PyObject *self, PyObject *number);
PyObject *poll_(PyObject *self, PyObject *args);

PyObject *two_pairs(PyObject *self, PyObject *ignored);
PyObject *fork_free(PyObject *self, PyObject *args);

PyObject *take(PyObject *self, PyObject *args);
PyObject *pairs(PyObject *self, PyObject *args);
PyObject *open_socket(PyObject *self, PyObject *args);
PyObject *same_place(PyObject *self, PyObject *args);
PyObject *fall_with(PyObject *self, PyObject *number);

#pragma GCC visibility pop

#endif
