/* Whether a sender has the rights that _child/rights.py knows of: then nothing is to be given up.
 *
 * Whatever else there is to say about rights is said there. This unit calls little, since each page
 * of a library that a new process touches costs as much as one of memory.
 */
#include "quick.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Moves `*known` behind a text if it goes on with that. */
static int
goes_on(const char **known, const char *end, const char *text, size_t size)
{
    if ((size_t)(end - *known) < size || memcmp(*known, text, size))
        return 0;
    *known += size;
    return 1;
}

/* The first number of the next line that is known, which begins with `name`; -1 if it does not. */
static long
number_of(const char *line, const char *end, const char *name)
{
    long number = 0;
    if (!goes_on(&line, end, name, 5) || line == end)
        return -1;
    for (; line < end && *line >= '0' && *line <= '9'; line++)
        number = number * 10 + (*line - '0');
    return number;
}

int
rights_are_known(PyObject *rights, const struct ucred *sender, char *room, size_t size_of_room)
{
    const char *known = PyBytes_AS_STRING(rights);
    const char *known_end = known + PyBytes_GET_SIZE(rights), *second = known;
    const size_t size = 2048;  /* no more: what is not touched costs nothing */
    struct stat file;
    if (known == known_end || sender->pid <= 0 || size_of_room < size || sender->pid == getpid())
        return 0;
    while (second < known_end && *second++ != '\n')
        ;
    if (number_of(known, known_end, "Uid:\t") != (long)sender->uid
        || number_of(second, known_end, "Gid:\t") != (long)sender->gid)
        return 0;
    memcpy(room, "/proc/", 6);
    int length = 6 + put_decimal(room + 6, (unsigned long)sender->pid);
    char *name = room + size - 64;  /* behind what is read */
    memcpy(name, room, (size_t)length);
    memcpy(room + length, "/status", 8);
    int fd = open(room, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = fstat(fd, &file) < 0 ? -1 : read(fd, room, size - 64);
    close(fd);
    const char *at = room, *end = room + (got > 0 ? got : 0);
    while (at < end && known < known_end) {
        const char *wanted = known;
        while (at < end && wanted < known_end && *at == *wanted && *at != '\n')
            at++, wanted++;
        if (at < end && wanted < known_end && *at == *wanted)
            known = wanted + 1;
        while (at < end && *at++ != '\n')
            ;
    }
    memcpy(name + length, "/ns/user", 9);
    ssize_t linked = readlink(name, room, 64);
    if (linked <= 0 || linked >= 64)
        return 0;
    room[linked++] = '\n';
    linked += put_decimal(room + linked, (unsigned long)file.st_dev);
    room[linked++] = '\n';
    return goes_on(&known, known_end, room, (size_t)linked) && known == known_end;
}

PyObject *
has_rights(PyObject *self, PyObject *args)
{
    char room[2048];
    struct ucred sender;
    PyObject *known;
    (void)self;
    if (!PyArg_ParseTuple(args, "Siii", &known, &sender.pid, &sender.uid, &sender.gid))
        return NULL;
    return PyBool_FromLong(rights_are_known(known, &sender, room, sizeof room));
}
