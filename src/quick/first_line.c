/* A main program's first line: two socketpairs, and a fork that leaves nobody's child.
 *
 * It does what _fork_free.py does. A main program pays for all that its first line touches and
 * loads. So nothing here imports a module, or needs what `know` is told.
 */
#include "quick.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

PyObject *
two_pairs(PyObject *self, PyObject *ignored)
{
    int comm[2], status[2];
    (void)self;
    (void)ignored;
    if (comm_pair(comm) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        close(comm[0]);
        close(comm[1]);
        return NULL;
    }
    return Py_BuildValue("(iiii)", comm[0], comm[1], status[0], status[1]);
}

PyObject *
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
        poll(&asked, 1, 2);  /* keep still for 2 ms: the main program's own start comes first */
        PyOS_AfterFork_Child();
        Py_RETURN_TRUE;
    }
    if (pid < 0)
        problem = errno;
    PyOS_AfterFork_Parent();
    while (pid > 0 && waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)  /* SIGCHLD is ignored in this program: the kernel has reaped it */
            break;
    }
    if (status != 0)
        problem = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;  /* EINTR: it was killed */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (problem) {
        errno = problem;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_FALSE;
}
