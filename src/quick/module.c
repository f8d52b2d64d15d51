/* The module earlyfork._quick: what Python sees of the part in C.
 *
 * It only puts together what the other units have.
 */
#include "quick.h"

PyDoc_STRVAR(serve_doc,
"serve(step, first)\n\n"
"Serve as a forker, and run what a process is told to run.\n\n"
"All that is not usual is left to `step`. It is called with what happened, and returns what to\n"
"run, or a LoopState, with which the loop goes on. What happened is None at the beginning; an\n"
"exception; or the state itself, of which the loop has set `what` and changed `refill_at` and\n"
"`standby`. `first` is a state to begin with, or None. When nothing is special about the end of\n"
"what was run, the process ends here, with status 0, or 120 if a stream could not be written;\n"
"else this returns.");

PyDoc_STRVAR(listen_doc,
"listen(fd)\n\nFrom now on a byte is written to this fd whenever a child dies; with -1 no more.");

PyDoc_STRVAR(poll_doc,
"poll(polled, patience)\n\n"
"Wait until something happens at one of these (fd, events); returns what did, as (fd, events).\n"
"`patience` is how many milliseconds to wait at most; None: for ever. A signal may end the wait.");

PyDoc_STRVAR(two_pairs_doc, "two_pairs()\n\nThe same as two_pairs of _fork_free.py.");

PyDoc_STRVAR(fork_free_doc,
"fork_free(near, far, ours)\n\n"
"The same as fork_free of _fork_free.py. The process between the two forks runs no Python, so\n"
"next to nothing is copied for it.");

PyDoc_STRVAR(take_doc,
"take(template, pidfd, queue, comm, watch)\n\n"
"A standby of the template at that fd as (generation, pid), with its sockets in the last two; None\n"
"if there is none, 0 if none will come any more, -1 if one was lost since this process has too many\n"
"open files, -2 if the template is dead, -3 if the queue is another file by now.");

PyDoc_STRVAR(pairs_doc,
"pairs(comm, watch, far_comm, far_status)\n\nThe sockets of a new process, in their owners.");

PyDoc_STRVAR(status_pair_doc,
"status_pair(watch, far_status)\n\nThe status socket alone, in its owners.");

PyDoc_STRVAR(send_doc,
"send(own, data, owns)\n\n"
"Send bytes, with the fds of a tuple of owners. Never waits, and keeps the interpreter's lock.\n"
"Returns how many bytes were sent.");

PyDoc_STRVAR(umask_doc,
"umask()\n\n"
"The file creation mask as /proc has it; -1 if it is not told. Keeps the interpreter's lock.");

PyDoc_STRVAR(standing_doc,
"standing(pid)\n\nThe limits, niceness and CPUs of a process, to be compared; 0: of this thread.");

PyDoc_STRVAR(readable_doc,
"readable(fd, milliseconds)\n\n"
"Whether there is something to read, waiting for it at most so long; -1: for ever.");

PyDoc_STRVAR(open_socket_doc,
"open_socket(socket_class, own)\n\nsocket_class(AF_UNIX, SOCK_STREAM, 0, own.release())");

PyDoc_STRVAR(own_class_doc, "own_class()\n\nThe class Own of _owner/own.py.");

PyDoc_STRVAR(same_place_doc,
"same_place(cwd, stdio)\n\n"
"Whether directory_identity() of / and . and stdio_identity() of _context.py would return these.");

PyDoc_STRVAR(identity_doc,
"identity(fd)\n\nA number that no other open file has; 0 if it is not open.");

PyDoc_STRVAR(has_rights_doc,
"has_rights(known, pid, uid, gid)\n\n"
"Whether a sender has just these rights, as far as that is seen at once.");
PyDoc_STRVAR(fall_with_doc,
"fall_with(fd)\n\n"
"Have the kernel kill this process when nobody holds the other end of a socket any more.");

PyDoc_STRVAR(set_name_doc, "set_name(name)\n\nSet what `ps` shows of this process, in 15 bytes.");

PyDoc_STRVAR(plain_doc,
"plain(value)\n\nThe same as pack_plain of _shared/plain.py, for values of any size.");

PyDoc_STRVAR(collapse_doc,
"collapse(address, size)\n\n"
"Put memory of this process into huge pages (MADV_COLLAPSE). Returns 0, or the errno.");

PyDoc_STRVAR(know_doc,
"know(here, resolve, count_callbacks, get_objects, refuse_unfinished, text_class, file_class,\n"
"     partial, revive, unpack_value, not_executed, surround, loop_state)\n\n"
"Name the objects of Python that the part in C uses. It looks up the slots of `here` and of the\n"
"class `loop_state` by name now: one that is missing is an error.");

static PyObject *
know(PyObject *self, PyObject *args)
{
    PyObject *surround, *loop_state;
    Known known;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOOOO!O!OOOOO!O!:know", &known.here, &known.resolve,
                          &known.count_callbacks, &known.get_objects, &known.refuse_unfinished,
                          &PyType_Type, &known.text_class, &PyType_Type, &known.file_class,
                          &known.partial, &known.revive, &known.unpack_value,
                          &known.not_executed,
                          &PyDict_Type, &surround, &PyType_Type, &loop_state))
        return NULL;
    if (loop_knows(loop_state) < 0 || here_knows(known.here) < 0)
        return NULL;
    ending_knows(&known);
    orders_know(&known);
    values_know(&known);
    surroundings_know(surround);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"serve", serve, METH_VARARGS, serve_doc},
    {"two_pairs", two_pairs, METH_NOARGS, two_pairs_doc},
    {"fork_free", fork_free, METH_VARARGS, fork_free_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"pairs", pairs, METH_VARARGS, pairs_doc},
    {"status_pair", status_pair, METH_VARARGS, status_pair_doc},
    {"send", send_, METH_VARARGS, send_doc},
    {"umask", umask_, METH_NOARGS, umask_doc},
    {"standing", standing, METH_O, standing_doc},
    {"readable", readable, METH_VARARGS, readable_doc},
    {"open_socket", open_socket, METH_VARARGS, open_socket_doc},
    {"own_class", own_class, METH_NOARGS, own_class_doc},
    {"same_place", same_place, METH_VARARGS, same_place_doc},
    {"identity", identity, METH_O, identity_doc},
    {"listen", listen_, METH_O, listen_doc},
    {"poll", poll_, METH_VARARGS, poll_doc},
    {"fall_with", fall_with, METH_O, fall_with_doc},
    {"has_rights", has_rights, METH_VARARGS, has_rights_doc},
    {"plain", plain, METH_O, plain_doc},
    {"set_name", set_name, METH_O, set_name_doc},
    {"collapse", collapse, METH_VARARGS, collapse_doc},
    {"know", know, METH_VARARGS, know_doc},
    {NULL, NULL, 0, NULL},
};

static int
set_up(PyObject *module)
{
    static const struct { const char *name; int value; } events[] = {
        {"READ", READ}, {"HEAR", HEAR}, {"DIED", DIED}, {"ASKED", ASKED},
        {"REFUSED", REFUSED}, {"CROWDED", CROWDED}, {"MORE", MORE}, {"CHILD", CHILD},
    };
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "earlyfork._quick works in the main interpreter only");
        return -1;
    }
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (PyModule_AddIntConstant(module, events[i].name, events[i].value) < 0)
            return -1;
    }
    if (set_up_objects() < 0 || set_up_surroundings() < 0 || set_up_ending() < 0)
        return -1;
    if (set_up_values() < 0 || set_up_orders() < 0 || set_up_hearing() < 0)
        return -1;
    return set_up_child();
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, set_up},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "earlyfork._quick",
    .m_doc = "The usual case of a forker and of a new process, in C; see src/quick/quick.h.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__quick(void)
{
    return PyModuleDef_Init(&definition);
}
