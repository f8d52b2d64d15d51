/* A command: what EXEC and SPAWN say, and all that is done between there and the exec. And how a root
 * template executes one beside itself, by vfork, so that none of its memory is copied.
 *
 * What is not usual (code to run before, fds beyond the streams, a link) is for
 * _child/executing.py and spawning.py, which do the same. After vfork parent and child have one
 * memory: until the exec, the child calls the kernel and nothing else.
 */
#include "quick.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The same number on all systems, which older headers lack; Linux 5.11 knows the flag. */
enum { CLOSE_RANGE = 436, CLOSE_ON_EXEC = 4 };

/* -- what they say ----------------------------------------------------------------------------- */

static int
next_value(const char **at, const char *end, const char **value, size_t *size)
{
    if (end - *at < FRAME || **at != ARG_BYTES)
        return 0;
    *size = number_at((const unsigned char *)*at + 1);
    *value = *at + FRAME;
    if (*size > (size_t)(end - *value))
        return 0;
    *at = *value + *size;
    return 1;
}

/* Moves `*at` behind the next word of a text, and behind the space that ends the word. */
static int
next_word(const char **at, const char *end, const char **word, size_t *size)
{
    const char *stop = memchr(*at, ' ', (size_t)(end - *at));
    if (stop == NULL)
        return 0;
    *word = *at;
    *size = (size_t)(stop - *at);
    *at = stop + 1;
    return 1;
}

/* The first of the values. */
static int
take_head(Command *c, const char *at, const char *end)
{
    const char *link, *flags, *streams, *mask;
    size_t link_size, flags_size, streams_size, mask_size;
    if (!next_word(&at, end, &link, &link_size) || !next_word(&at, end, &flags, &flags_size)
        || !next_word(&at, end, &streams, &streams_size)
        || !next_word(&at, end, &mask, &mask_size) || at != end)
        return 0;  /* the last word are the numbers of other fds */
    if (link_size != 1 || *link != UNLINKED || streams_size != 3 || mask_size > 4)
        return 0;
    memcpy(c->streams, streams, 3);
    c->fds = 0;
    for (int i = 0; i < 3; i++) {
        if (streams[i] != KEEP && streams[i] != NULL_FILE && streams[i] != NEXT_FD)
            return 0;
        c->fds += streams[i] == NEXT_FD;
    }
    c->session = memchr(flags, 's', flags_size) != NULL;
    c->folder = memchr(flags, 'c', flags_size) != NULL;
    c->fds += c->folder;
    c->env = NULL;
    c->has_env = memchr(flags, 'e', flags_size) != NULL;
    c->umask = -1;
    for (size_t i = 0; i < mask_size && *mask != '-'; i++) {
        if (mask[i] < '0' || mask[i] > '9')
            return 0;
        c->umask = (c->umask < 0 ? 0 : c->umask * 10) + (mask[i] - '0');
    }
    return 1;
}

static size_t
count_of(const char *text, size_t size, char sign)
{
    size_t found = 0;
    for (size_t i = 0; i < size; i++)
        found += text[i] == sign;
    return found;
}

/* Copies texts that NUL separates, and puts down where each of them is; NULL after the last. */
static char **
copy_texts(char **pointers, char **room, const char *text, size_t size)
{
    char *copy = *room;
    memcpy(copy, text, size);
    copy[size] = 0;
    *room += size + 1;
    for (char *at = copy; at <= copy + size; at += strlen(at) + 1)
        *pointers++ = at;
    *pointers++ = NULL;
    return pointers;
}

/* The PATH that the command will have. */
static const char *
path_for(const Command *c)
{
    const char *found = c->has_env ? NULL : getenv("PATH");
    for (char **entry = c->env; c->has_env && *entry != NULL; entry++) {
        if (strncmp(*entry, "PATH=", 5) == 0)
            found = *entry + 5;
    }
    return found == NULL ? "/bin:/usr/bin" : found;  /* os.defpath */
}

/* The paths that a file is looked for at. On failure 0. */
static int
find_paths(Command *c)
{
    const char *file = c->file, *path = strchr(file, '/') == NULL ? path_for(c) : "";
    size_t length = strlen(file), folders = count_of(path, strlen(path), ':') + 1;
    size_t pointers = (folders + 1) * sizeof(char *);
    c->paths = PyMem_RawMalloc(pointers + strlen(path) + folders * (length + 2));
    if (c->paths == NULL)
        return 0;
    char *room = (char *)c->paths + pointers;
    for (size_t i = 0; i < folders; i++) {
        size_t size = strcspn(path, ":");
        c->paths[i] = room;
        memcpy(room, path, size);
        room += size;
        if (size > 0 && room[-1] != '/')
            *room++ = '/';
        memcpy(room, file, length + 1);
        room += length + 1;
        path += size + 1;
    }
    c->paths[folders] = NULL;
    return 1;
}

int
take_command(Command *c, const char *payload, size_t size)
{
    if (syscall(CLOSE_RANGE, ~0U, ~0U, CLOSE_ON_EXEC) < 0)
        return 0;  /* does nothing where it can be done */
    const char *values[4], *at = payload, *end = payload + size;
    size_t sizes[4], all = 0, pointers = 4;
    for (int i = 0; i < 4; i++) {
        if (!next_value(&at, end, &values[i], &sizes[i]))
            return 0;
        all += sizes[i] + 1;
        pointers += count_of(values[i], sizes[i], 0) + 1;
    }
    if (at != end || !take_head(c, values[0], values[0] + sizes[0]))
        return 0;
    c->room = PyMem_RawMalloc(pointers * sizeof(char *) + all);
    c->paths = NULL;
    if (c->room == NULL)
        return 0;
    char **to = c->room, *room = (char *)(to + pointers);
    c->argv = to;
    to = copy_texts(to, &room, values[2], sizes[2]);
    c->env = to;
    if (sizes[3] > 0)
        copy_texts(to, &room, values[3], sizes[3]);
    else
        *to = NULL;
    c->file = room;
    memcpy(room, values[1], sizes[1]);
    room[sizes[1]] = 0;
    if (find_paths(c))
        return 1;
    drop_command(c);
    return 0;
}

void
drop_command(Command *c)
{
    PyMem_RawFree(c->room);
    PyMem_RawFree(c->paths);
}

/* -- the steps to the exec --------------------------------------------------------------------- */

/* Put a stream in its place. On failure -1 and errno. */
static int
put_stream(int number, char kind, const int **fds)
{
    if (kind == KEEP)
        return 0;
    int fd = kind == NEXT_FD ? *(*fds)++ : open("/dev/null", O_RDWR);
    if (fd < 0 || fd == number)
        return fd;
    return dup2(fd, number);
}

int
become(const Command *c, const int *fds, int comm, int *where)
{
    sigset_t none;
    struct sigaction plain = {.sa_handler = SIG_DFL};
    *where = NOT_SET;
    for (int number = 0; number < 3; number++) {
        if (put_stream(number, c->streams[number], &fds) < 0)
            return errno;
    }
    *where = NOT_THERE;
    if (c->folder && fchdir(*fds) < 0)
        return errno;
    if (c->umask >= 0)
        umask((mode_t)c->umask);
    *where = NOT_SET;
    if (c->session && setsid() < 0)
        return errno;
    /* Now, and not by the exec: after vfork no handler may run here. */
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (syscall(CLOSE_RANGE, 3, ~0U, CLOSE_ON_EXEC) < 0)
        return errno;
    /* Who is gone need not be told. Who can't be told must not take the end of comm for an exec. */
    *where = NOT_SET;
    if (comm >= 0 && send(comm, EXECUTES, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE
        && errno != ECONNRESET)
        return errno;
    *where = NOT_EXECUTED;
    int told = 0, last = ENOENT;
    for (char **path = c->paths; *path != NULL; path++) {
        execve(*path, c->argv, c->has_env ? c->env : environ);
        last = errno;
        if (told == 0 && last != ENOENT && last != ENOTDIR)
            told = last;
    }
    return told ? told : last;
}

/* -- beside a template ------------------------------------------------------------------------- */

/* Whether parent and child have one memory after vfork. An emulator may make a fork of it; then
 * nobody would hear why an exec has failed. Tried out once, since it stays as it is. */
static __attribute__((noinline)) int
vfork_shares(void)
{
    static int known = -1;
    volatile int seen = 0;
    if (known >= 0)
        return known;
    pid_t pid = vfork();
    if (pid == 0) {
        seen = 1;
        _exit(0);
    }
    if (pid < 0)
        return 0;
    known = seen;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return known;
}

/* A new process that becomes the command: its pid when it has. -1 if there could be no process; 0 if
 * it could not become that; the error says why, and for the latter `where`. */
static __attribute__((noinline)) pid_t
start(const Command *c, const int *fds, volatile int *error, int *where)
{
    sigset_t all, before;
    *error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  /* no handler may run in the child */
    pid_t pid = vfork();
    if (pid == 0) {
        *error = become(c, fds, -1, where);
        _exit(127);
    }
    if (pid < 0)
        *error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0 || !*error)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

/* Tell the owner of a command that it runs, and note it. One that has ended by now needs no note:
 * where both share a processor, it runs first. On failure -1 and an exception; it is ended then. */
static int
tell_and_note(const Forker *f, pid_t pid, int status)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) {
        tell_exit(status, pid, &info);
        waitpid(pid, NULL, 0);
        close(status);
        return 0;
    }
    tell_owner(status, PID, pid);  /* first: its owner waits for that */
    PyObject *key = PyLong_FromLong(pid), *fd = PyLong_FromLong(status);
    int failed = key == NULL || fd == NULL || PyDict_SetItem(f->status, key, fd) < 0;
    Py_XDECREF(key);
    Py_XDECREF(fd);
    if (!failed)
        return 0;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(status);
    return -1;
}

/* The SPAWN that a batch consists of; 0 if it is anything else, or not usual. */
static int
understand(Command *c, const char *batch, ssize_t size, int fds)
{
    const unsigned char *bytes = (const unsigned char *)batch;
    size_t payload = number_at(bytes + HEAD + 1);
    if (bytes[3] != fds || number_at(bytes + 8) || number_at(bytes + 4) > size - HEAD
        || payload + FRAME != number_at(bytes + 4))
        return 0;
    if (!take_command(c, batch + HEAD + FRAME, payload))
        return 0;
    if (c->fds == fds - 1)
        return 1;
    drop_command(c);
    return 0;
}

/* Whether who sends may have this template execute something: it has the template's rights, and the
 * same root directory, of which nothing else tells. */
static int
may_ask(const Forker *f, const struct ucred *sender, char *room, size_t size)
{
    if (!rights_are_known(f->rights, sender, room, size))
        return 0;
    memcpy(room, "/proc/", 6);
    int length = 6 + put_decimal(room + 6, (unsigned long)sender->pid);
    memcpy(room + length, "/root", 6);
    return readlink(room, room + 64, 2) == 1 && room[64] == '/';
}

/* Read the rest of a batch that is larger than PAD; the size of all, or of what there is. */
static ssize_t
read_rest(int comm, char *batch, struct ucred *sender)
{
    uint32_t size = number_at((unsigned char *)batch + 4) + HEAD;
    struct ucred other;
    int more[MAX_FDS], count;
    if (size <= PAD || size > LARGE)
        return PAD;
    ssize_t got = receive(comm, batch + PAD, size - PAD, MSG_WAITALL, more, &count, &other);
    for (int i = 0; i < count; i++)
        close(more[i]);
    if (count > 0 || memcmp(&other, sender, sizeof other))
        sender->pid = 0;  /* two have sent it: nobody is trusted */
    return PAD + (got > 0 ? got : 0);
}

PyObject *
command_asked(Forker *f, const char *first, const int *fds, int count, struct ucred *sender)
{
    char batch[LARGE], room[2048];
    int where;
    Command c;
    memcpy(batch, first, PAD);
    ssize_t got = read_rest(f->comm, batch, sender);
    int usual = understand(&c, batch, got, count);
    if (usual && (PyDict_GET_SIZE(f->status) >= f->crowd
                  || !may_ask(f, sender, room, sizeof room) || !vfork_shares())) {
        drop_command(&c);
        usual = 0;
    }
    if (!usual)
        return bytes_and_fds(READ, f->comm, batch, got, fds, count, sender);
    volatile int error;
    pid_t pid = start(&c, fds + 1, &error, &where);
    int failed = 0, status = fds[0];
    drop_command(&c);
    if (pid > 0)
        failed = tell_and_note(f, pid, status);
    else if (pid < 0)
        tell_owner(status, NO_FORK, error);
    else
        tell_owner(status, where, error);
    for (int i = pid > 0; i < count; i++)
        close(fds[i]);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}
