/* What the units of earlyfork._quick share; read this first. It is longer than other files, since
 * each function that two units use is described here.
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
 * Each unit uses those above it in this list, and none below it:
 *
 *   system.c        what is asked of the kernel
 *   objects.c       what is asked of Python's objects
 *   surroundings.c  a new process gets its variables and path
 *   loop_state.c    what the loop is given, and what it leaves
 *   ending.c        the end of a process, after the function that it ran
 *   rights.c        whether a sender has the rights that are known
 *   values.c        values and files that were sent for a function
 *   command.c       a command: what is asked for, the steps to its exec, a root template's own
 *   orders.c        what the first batch of a new process says
 *   child.c         a new process, from its birth to its first batch
 *   hearing.c       a child that says it is to be linked
 *   children.c      a forker's children: forking, noting and reaping them
 *   forker.c        the loop
 *   first_line.c    the double fork of a main program's first line
 *   own.c           an fd with an owner
 *   owner.c         what an owner asks of the system, and the second line of a linked worker
 *   module.c        the module
 *
 * What a single unit uses is static in that unit, and is not in this file.
 */
#ifndef EARLYFORK_QUICK_H
#define EARLYFORK_QUICK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if !defined(__linux__) || defined(Py_GIL_DISABLED)
#error "for Linux and for interpreters with a GIL only; elsewhere the Python code does all the work"
#endif

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* _shared/wire.py's numbers; tests/test_quick.py holds the two together. */
enum { PAD = 256, HEAD = 12, FRAME = 5 };
enum { REQUIRE = 1, FD = 4, ARG_BYTES = 5, ARG_STR = 6, ARG_PICKLE = 7, RUN = 10, ENV = 11,
       CWD = 12, PATH = 13, STDIO = 14, CHROOT = 18, ARG_PLAIN = 19, EXEC = 20, SPAWN = 23 };
enum { PID = 64, EXIT = 67, NO_FORK = 68, LINK = 97 };
enum { NOT_EXECUTED = 69, NOT_THERE = 70, NOT_SET = 71 };
/* Of _shared/payloads.py: how a frame RUN says that a process is linked and alone, the letters of
 * the streams in STDIO and EXEC, and the head of a message up. */
enum { UNLINKED = '-', LINKED = 'L', SECOND_LINE = 'S' };
enum { UNLINKED_ALONE = 'a', LINKED_ALONE = 'l', SECOND_LINE_ALONE = 's' };
enum { KEEP = '-', NULL_FILE = 'n', NEXT_FD = 'f' };
enum { UP_HEAD = 5 };
/* What a process says on comm just before it executes a command. */
#define EXECUTES "."
/* As many fds as one message can carry: the kernel's SCM_MAX_FD. No header of the C library has it,
 * and it has stayed the same since Linux 2.6.38. */
enum { MAX_FDS = 253 };
/* A new process reads a first batch of up to this size itself. Of a larger one the server reads the
 * rest. */
enum { LARGE = 8192 };

/* Why the loop leaves its work to _child/quick_loop.py:
 *
 *   READ     bytes came on comm that the loop does not obey
 *   HEAR     children have said something
 *   DIED     a child has died, and there is more to do about it than to tell its owner
 *   ASKED    a process is asked for, and the forker is crowded
 *   REFUSED  a process is asked for, and an audit hook forbids the fork
 *   CROWDED  a standby is due, and the forker is crowded
 *   MORE     something has happened to an fd in `watched`
 *   CHILD    this is a new process, whose first batch is not usual */
enum { READ, HEAR, DIED, ASKED, REFUSED, CROWDED, MORE, CHILD };

/* The option -fvisibility=hidden hides all functions that are defined. This pragma says that those
 * declared here are hidden, too: then a call between two units goes straight to the function, and
 * not through a table. */
#pragma GCC visibility push(hidden)

/* -- system.c ---------------------------------------------------------------------------------- */

/* Seconds on the clock that only goes forward. */
double now(void);

/* Four bytes, the highest first. */
uint32_t number_at(const unsigned char *at);
void put_number(unsigned char *at, uint32_t number);

/* Write a number in digits; returns how many. */
int put_decimal(char *at, unsigned long number);

/* Send a frame with a decimal number to the owner that waits at this status socket. */
void tell_owner(int fd, int op, long number);

/* Tell it how a process ended; and the pid first, if that is not 0. */
void tell_exit(int fd, int pid, const siginfo_t *info);

/* Receive one message with its fds, which are close-on-exec. `fds` has room for MAX_FDS, or for as
 * many as can come. `sender`, if it is not NULL, becomes who sent it; pid 0 where the kernel does
 * not say. On failure -1 and errno, which is EMFILE when fds were lost on the way. */
ssize_t receive(int fd, void *data, size_t size, int flags, int *fds, int *count,
                struct ucred *sender);

/* The same with so many fds at most. Where more came, or found no place, -1 and EMFILE, and there are
 * none. */
ssize_t receive_few(int fd, void *data, size_t size, int flags, int *fds, int *count, int most);

/* Send one message with up to MAX_FDS fds; does not wait. Returns how many bytes were sent; on
 * failure -1 and errno. */
ssize_t send_with_fds(int fd, const void *data, size_t size, const int *fds, int count);

/* From now on a byte is written to this fd whenever a child dies; with -1 no more. */
void hear_deaths(int fd);

/* Make the way up of a child to its forker. The forker hears at pair[0], the child speaks at
 * pair[1]. On failure -1 and errno. */
int up_pair(int pair[2]);

/* Make a process's comm: its owner's end, and its own. On failure -1 and errno. */
int comm_pair(int pair[2]);

/* Have the kernel say with each message that arrives at this end who sent it, or not. */
int name_senders(int fd, int on);

/* Have the kernel kill this process when nobody holds the other end of a socket any more. On failure
 * -1 and errno. */
int die_with(int fd);

/* Whether something is unread in a socket: bytes in a stream; a message in a way up, where an empty
 * one counts as well. Both first shut the socket for reading, so that nothing more comes. */
int holds_bytes(int fd);
int holds_message(int fd);

/* poll() that misses no signal: one that comes after Python's handlers were looked at ends the
 * wait. On failure -1 and errno; -2 and an exception if such a handler raised one. */
int poll_now(struct pollfd *polled, nfds_t count, int patience);

/* What os.fork() does, without its frames of Python. On failure -1 and errno; -2 and an exception if
 * an audit hook forbids it. */
pid_t fork_now(void);

/* -- objects.c --------------------------------------------------------------------------------- */

/* All functions set_up_... are called once, when the module is loaded. On failure -1 and an
 * exception. */
int set_up_objects(void);

/* Where a slot of a class is in the objects of that class; 0 and an exception if the class has no
 * slot of this name. To go there directly touches one page; to look up an attribute, five. */
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

/* Whether this class is the stdlib's own, or the one of _child/late_socket.py that stands for it.
 * The slots of such a class are known after this. -1 and an exception on failure. Found out when it
 * is first asked, and not when the module is loaded: a main program's first line does without
 * _socket. */
int is_plain(PyObject *socket_class);

/* The class for which `is_plain` was true, borrowed; NULL before that. */
PyObject *plain_socket_class(void);

/* socket_class(family, type, protocol, fd); owns the fd. */
PyObject *socket_of(PyObject *socket_class, int family, int type, int protocol, int fd);

/* The slots of the object `here` of _child/here.py. */
enum { HERE_ALSO, HERE_DOING, HERE_FILES, HERE_FORKER, HERE_JOB, HERE_KIND, HERE_LIFELINE, HERE_LINE,
       HERE_PENDING, HERE_SPOKE, HERE_UP, HERE_COUNT };

/* Note that object. On failure -1 and an exception, and nothing has changed. */
int here_knows(PyObject *object);

PyObject **here_at(int which);
void set_here(int which, PyObject *value_to_own);

/* Close a socket without the frames of Python that its `close` and `detach` have. */
void close_socket(PyObject *sock);

/* A global of a loaded module. NULL without an exception if there is no such module or global, or
 * if the module is no plain one. */
PyObject *global_of(const char *module, Py_ssize_t module_length, const char *name,
                    Py_ssize_t length);

PyObject *list_of(const int *fds, int count);

/* What was read, for the server: (what, comm, data, fds, sender). */
PyObject *bytes_and_fds(int what, int comm, const char *data, ssize_t size, const int *fds,
                        int count, const struct ucred *sender);

/* The same after `receive` has failed: the data is b"" at the end of the stream, and None when fds
 * found no place in this process. For any other errno NULL and an exception. */
PyObject *not_read(int what, int comm);

/* Take the exception that is set; none is set after that. */
PyObject *current_exception(void);

/* -- surroundings.c ---------------------------------------------------------------------------- */

int set_up_surroundings(void);

/* Note what obeys the frames about the surroundings: a dict, op -> function, which
 * _child/quick_loop.py makes of SURROUND in _child/commands.py. */
void surroundings_know(PyObject *surround);

/* Whether an op is about the surroundings. */
int is_surrounding(int op);

/* Obey such a frame, whose fds are the first ones of the list: they are taken out. On failure -1 and
 * an exception. */
int apply_surrounding(int op, const char *payload, Py_ssize_t size, PyObject *fds);

/* -- loop_state.c ------------------------------------------------------------------------------ */

/* What the loop is given. The members have the names of the slots of LoopState in
 * _child/quick_loop.py, and the objects are borrowed from there. */
typedef struct {
    int comm, wake_in, wake_out;
    int queue;                  /* -1: there is none */
    PyObject *status;           /* dict: pid -> the far end of its status socket */
    PyObject *ups;              /* dict: pid -> where it is heard */
    PyObject *ends;             /* dict: pid -> a copy of its end of that */
    PyObject *waiting;          /* set: pids of standbys that may wait in the queue still */
    PyObject *others;           /* tuple: all other fds of the forker that a child closes */
    PyObject *said;             /* dict: pid -> set of what was heard of the child */
    PyObject *held;             /* dict: pid -> list of fds that are held for a linked child */
    PyObject *watched;          /* dict: fd that shows the end of an owner -> pid of its child */
    PyObject *births;           /* tuple of functions that a new process calls first */
    PyObject *socket_class;     /* of the socket that a worker's function gets */
    PyObject *fork_batch;       /* bytes: the batch that holds a FORK and nothing else */
    PyObject *rights;           /* bytes: what senders have than whom a child has no more rights */
    int standby, crowd, generation;
    double refill_at, refill_after;
    int nursery;                /* the pid of the nursery, or 0 */
    int root;                   /* whether SIGTERM is blocked here, as it is in no child */
    int executes;               /* whether the environment of commands is as it is here */
    int spawns;                 /* whether it executes commands beside itself */
    int careful;                /* whether somebody else may have waited for a child */
} Forker;

/* Note the class LoopState. On failure -1 and an exception, and nothing has changed. */
int loop_knows(PyObject *loop_state);

int is_loop_state(PyObject *object);

/* Read all slots. -1 and an exception if one is not set, or is of the wrong kind. */
int take_apart(PyObject *state, Forker *f);

/* Write to `state` what the loop leaves: `what` has happened, which is owned here, and the numbers
 * that it has changed. On failure -1 and an exception. */
int leave(PyObject *state, const Forker *f, PyObject *what);

/* Write `what` alone: in a new process, where the forker's numbers mean nothing. */
void say_what(PyObject *state, PyObject *what);

/* -- ending.c ---------------------------------------------------------------------------------- */

/* The objects of Python that a new process needs: `here` and `resolve` of _child/here.py,
 * atexit._ncallbacks, gc.get_objects, `refuse_unfinished` of _child/ending.py, io.TextIOWrapper,
 * the class that all files have as a base, functools.partial, `revive` of _child/files.py,
 * `unpack_value` of _shared/payloads.py, `not_executed` of _child/executing.py. */
typedef struct {
    PyObject *here, *resolve, *count_callbacks, *get_objects, *refuse_unfinished;
    PyObject *text_class, *file_class, *partial, *revive, *unpack_value, *not_executed;
} Known;

int set_up_ending(void);

void ending_knows(const Known *known);

/* Call `job` and do what is usual at the end of a process. Returns 0; 120 when a stream could not
 * be written; 1 when something is special about the end, which then is left to Python; -1 and an
 * exception. */
int run_job(PyObject *job);

/* The same, as the last thing that this process does. `here` keeps the job: dropped earlier, its
 * socket would warn that nobody closed it. */
int run_last(PyObject *job);

/* -- rights.c ---------------------------------------------------------------------------------- */

/* Whether a sender has the very rights that are known: the text of `of` in _child/rights.py. What
 * /proc says is read into `room`, which is best on a page that is this process's own already. */
int rights_are_known(PyObject *rights, const struct ucred *sender, char *room, size_t size_of_room);

/* -- values.c ---------------------------------------------------------------------------------- */

int set_up_values(void);
void values_know(const Known *known);

/* What marshal makes of a plain value, as bytes; None for any other value. */
PyObject *plain(PyObject *self, PyObject *value);

/* Whether an op is one of values and files. */
int is_value(int op);

/* Add what a frame holds to the list of values. The fd of a frame FD is the first one of its list,
 * which is not empty; it is taken out. On failure -1 and an exception. */
int take_value(PyObject *values, int op, const char *data, Py_ssize_t size, PyObject *socket_class,
               PyObject *fds);

/* -- orders.c ---------------------------------------------------------------------------------- */

int set_up_orders(void);
void orders_know(const Known *known);

/* Whether a first batch, with so many fds (-1: it will tell), says nothing but what `obey` does,
 * in a process that may execute commands or not: RUNS. Or what `prepare` does, if the batch after it
 * is one that `obey` does. */
enum { UNUSUAL, PREPARES, RUNS };
int are_usual(const char *batch, ssize_t size, const char *fork_batch, int fds, int executes);

PyObject *set_name(PyObject *self, PyObject *name);

/* The function of that name. Puts the name where `ps` and error messages find it. */
PyObject *function_for(const char *name, Py_ssize_t length);

/* What is to be called: a function, with a socket and the values of a list. */
PyObject *job_of(PyObject *function, PyObject *sock, PyObject *values);

typedef struct {
    int comm, up;
    PyObject *socket_class;
    const char *batch;
    const int *fds;
    int count;
} Orders;

/* Do what a batch says that ends before RUN. On failure -1 and an exception. */
int prepare(const Orders *orders);

/* Obey a usual first batch; returns what is to be called, or executes it. Owns comm and the fds. NULL
 * and an exception on failure. */
PyObject *obey(const Orders *orders);

/* -- child.c ----------------------------------------------------------------------------------- */

int set_up_child(void);

/* In a new process: close all fds of the forker, and note what the process needs of the forker. */
void be_born(const Forker *f, int comm, int up, int standby);

/* The life of a new process up to its first batch. Returns what is to be called; or, when that
 * batch is not usual, (CHILD, comm, data, fds, sender), in which the data may be an exception; or NULL when
 * there is no memory even for that. */
PyObject *live(void);

/* -- command.c --------------------------------------------------------------------------------- */

/* What a usual frame EXEC or SPAWN says. */
typedef struct {
    char streams[3];            /* a letter for each of fds 0 to 2 */
    int folder;                 /* whether its directory comes with it, after the streams */
    int fds;                    /* how many fds that are */
    int session, umask;         /* umask below 0: that of the process */
    int has_env;
    char **argv, **env, **paths;
    const char *file;
    void *room;                 /* what these point into */
} Command;

/* Understand the payload of EXEC or SPAWN; 0 if it is not usual, or there is no memory. */
int take_command(Command *c, const char *payload, size_t size);
void drop_command(Command *c);

/* Become the command. Just before the exec that is said at `comm`, if this is not -1. Returns only if
 * it failed: the errno, and in `where` with which of NOT_... its owner is told so. Calls nothing but
 * the kernel. */
int become(const Command *c, const int *fds, int comm, int *where);

/* Have a root template, whose comm begins with `first`, execute a command beside itself. Returns
 * None if it was obeyed; else what the server is to do. Owns the fds. */
PyObject *command_asked(Forker *f, const char *first, const int *fds, int count,
                        struct ucred *sender);

/* -- hearing.c --------------------------------------------------------------------------------- */

int set_up_hearing(void);

/* Take what a child has said, if that is a usual LINK. 0 if it is anything else, and is there still;
 * -1 and an exception on failure. */
int hear_link(const Forker *f, PyObject *pid, int up);

/* Whether what is held for a dead child can be closed without a wait. */
int may_forget(const Forker *f, PyObject *pid);

/* Take a key out of a dict, if it is there. On failure -1 and an exception. */
int drop(PyObject *dict, PyObject *key);

/* Forget what was heard of a dead child, and close what is held for it; `status` was its status
 * socket. On failure -1 and an exception. */
int forget_said(const Forker *f, PyObject *pid, int status);

/* -- children.c -------------------------------------------------------------------------------- */

/* Fork a process that somebody asked for. Owns both fds. Returns 1 in that process. -1 and an
 * exception if an audit hook forbids it: then the fds are the caller's still. */
int fork_asked(Forker *f, int comm, int status);

/* Fork one standby and put it into the queue. Returns 1 in the standby. */
int refill(Forker *f);

/* Fork standbys when so many seconds have passed, if fewer wait than should. */
void plan_refill(Forker *f, double pause);

/* Tell the owners of children that have ended, and reap these. Returns 1 at the first one that the
 * server must see to; -1 and an exception on failure. */
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

/* -- forker.c, first_line.c, owner.c, huge.c: functions of the module, described in module.c --- */

PyObject *serve(PyObject *self, PyObject *args);
PyObject *listen_(PyObject *self, PyObject *number);
PyObject *poll_(PyObject *self, PyObject *args);

PyObject *two_pairs(PyObject *self, PyObject *ignored);
PyObject *fork_free(PyObject *self, PyObject *args);

PyObject *take(PyObject *self, PyObject *args);
PyObject *pairs(PyObject *self, PyObject *args);
PyObject *status_pair(PyObject *self, PyObject *args);
PyObject *send_(PyObject *self, PyObject *args);
PyObject *standing(PyObject *self, PyObject *number);
PyObject *umask_(PyObject *self, PyObject *ignored);
PyObject *readable(PyObject *self, PyObject *args);
PyObject *open_socket(PyObject *self, PyObject *args);
PyObject *same_place(PyObject *self, PyObject *args);
PyObject *fall_with(PyObject *self, PyObject *number);
PyObject *has_rights(PyObject *self, PyObject *args);

PyObject *collapse(PyObject *self, PyObject *args);

#pragma GCC visibility pop

#endif
