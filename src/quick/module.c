/* The module earlyfork._quick: what Python sees of the part in C.
 *
 * Nothing is done here but to put together what the other units have.
 */
#include "quick.h"

PyDoc_STRVAR(serve_doc,
"serve(step, first)\n\n"
"Serve as a forker, and run what a process is told to run. `step` does all that is not usual:\n"
"given what happened it says what to run, or, as a LoopState, what the loop needs to go on;\n"
"`first` is such a state, or None. What happened is None at the beginning; an exception; or the\n"
"state itself, of which the loop has set `what` and changed `refill_at` and `standby`. After the\n"
"run the process ends here, with status 0, when there is nothing special about its end; else this\n"
"returns.");

PyDoc_STRVAR(listen_doc,
"listen(fd)\n\nHave the death of a child written to an fd from now on; -1: not any more.");

PyDoc_STRVAR(poll_doc,
"poll(polled, patience)\n\n"
"Which of these (fd, events) have something to say, as (fd, events), waiting so many milliseconds\n"
"for it, or for ever (None). A signal may end it early.");

PyDoc_STRVAR(two_pairs_doc, "two_pairs()\n\ntwo_pairs of _fork_free.py");

PyDoc_STRVAR(fork_free_doc,
"fork_free(near, far, ours)\n\n"
"fork_free of _fork_free.py. The process between runs no Python, so next to nothing is copied for\n"
"it.");

PyDoc_STRVAR(take_doc,
"take(template, pidfd, queue, comm, watch)\n\n"
"A standby of the template at that fd as (generation, pid), with its sockets in the last two; None\n"
"if there is none, 0 if none will come any more, -1 if one was lost since this process has too many\n"
"open files, -2 if the template is dead, -3 if the queue is another file by now.");

PyDoc_STRVAR(pairs_doc,
"pairs(comm, watch, far_comm, far_status)\n\nThe sockets of a new process, in their owners.");

PyDoc_STRVAR(open_socket_doc,
"open_socket(socket_class, own)\n\nsocket_class(AF_UNIX, SOCK_STREAM, 0, own.release())");

PyDoc_STRVAR(own_class_doc, "own_class()\n\nThe class Own of _owner/own.py.");

PyDoc_STRVAR(same_place_doc,
"same_place(cwd, stdio)\n\n"
"Whether cwd_identity() and stdio_identity() of _context.py would answer this.");

PyDoc_STRVAR(identity_doc,
"identity(fd)\n\nA number that no other open file has; 0 if it is not open.");

PyDoc_STRVAR(fall_with_doc,
"fall_with(fd)\n\nHave the kernel kill this process when nobody holds a socket's other end.");

PyDoc_STRVAR(know_doc,
"know(here, resolve, count_callbacks, get_objects, refuse_unfinished, text_class, file_class,\n"
"     surround, loop_state)\n\n"
"The objects of Python that are used here. The slots of `here` and of the class `loop_state` are\n"
"looked up by name now: one that is missing is an error.");

static PyObject *
know(PyObject *self, PyObject *args)
{
    PyObject *surround, *loop_state;
    Known known;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOOOO!O!O!O!:know", &known.here, &known.resolve,
                          &known.count_callbacks, &known.get_objects, &known.refuse_unfinished,
                          &PyType_Type, &known.text_class, &PyType_Type, &known.file_class,
                          &PyDict_Type, &surround, &PyType_Type, &loop_state))
        return NULL;
    if (loop_knows(loop_state) < 0 || child_knows(&known) < 0
        || ending_knows(&known) < 0)
        return NULL;
    surroundings_know(surround);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"serve", serve, METH_VARARGS, serve_doc},
    {"two_pairs", two_pairs, METH_NOARGS, two_pairs_doc},
    {"fork_free", fork_free, METH_VARARGS, fork_free_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"pairs", pairs, METH_VARARGS, pairs_doc},
    {"open_socket", open_socket, METH_VARARGS, open_socket_doc},
    {"own_class", own_class, METH_NOARGS, own_class_doc},
    {"same_place", same_place, METH_VARARGS, same_place_doc},
    {"identity", identity, METH_O, identity_doc},
    {"listen", listen_, METH_O, listen_doc},
    {"poll", poll_, METH_VARARGS, poll_doc},
    {"fall_with", fall_with, METH_O, fall_with_doc},
    {"know", know, METH_VARARGS, know_doc},
    {NULL, NULL, 0, NULL},
};

static int
set_up(PyObject *module)
{
    static const struct { const char *name; int value; } events[] = {
        {"READ", READ}, {"HEAR", HEAR}, {"DIED", DIED}, {"ASKED", ASKED}, {"CROWDED", CROWDED},
        {"MORE", MORE}, {"CHILD", CHILD},
    };
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "what is kept here is the main interpreter's");
        return -1;
    }
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (PyModule_AddIntConstant(module, events[i].name, events[i].value) < 0)
            return -1;
    }
    if (set_up_objects() < 0 || set_up_surroundings() < 0)
        return -1;
    return set_up_child() < 0 ? -1 : set_up_ending();
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
    .m_doc = "The hot path of a forker, in C.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__quick(void)
{
    return PyModuleDef_Init(&definition);
}
