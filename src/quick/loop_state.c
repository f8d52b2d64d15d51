/* What the loop is given by _child/quick_loop.py, and what it leaves: the slots of a LoopState.
 *
 * Both sides call the slots by their names. This unit looks the names up once, when the module is
 * told of that class: one that is missing, or spelt in another way, is an error then. What the loop
 * does with the slots is no business of this unit.
 */
#include "quick.h"

#include <limits.h>
#include <stddef.h>

/* The slots that the loop is given: the name, what the slot holds, and where in a Forker that is
 * put. */
static const struct {
    const char *name;
    enum { NUMBER, SECONDS, DICT, SET, TUPLE, BATCH, BYTES, ANY } kind;
    size_t to;
} given[] = {
#define GIVEN(kind, name) {#name, kind, offsetof(Forker, name)}
    GIVEN(NUMBER, comm), GIVEN(NUMBER, wake_in), GIVEN(NUMBER, wake_out),
    GIVEN(NUMBER, queue), GIVEN(DICT, status), GIVEN(DICT, ups), GIVEN(DICT, ends),
    GIVEN(SET, waiting), GIVEN(TUPLE, others), GIVEN(DICT, said), GIVEN(DICT, held),
    GIVEN(DICT, watched), GIVEN(TUPLE, births),
    GIVEN(ANY, socket_class), GIVEN(BATCH, fork_batch), GIVEN(BYTES, rights),
    GIVEN(NUMBER, standby), GIVEN(NUMBER, crowd), GIVEN(NUMBER, generation),
    GIVEN(SECONDS, refill_at), GIVEN(SECONDS, refill_after), GIVEN(NUMBER, nursery),
    GIVEN(NUMBER, root), GIVEN(NUMBER, careful), GIVEN(NUMBER, executes), GIVEN(NUMBER, spawns),
#undef GIVEN
};
enum { GIVEN_COUNT = sizeof given / sizeof *given };

/* Where these slots are in a LoopState, and those that the loop writes to when it leaves. */
typedef struct {
    Py_ssize_t given[GIVEN_COUNT], refill_at, standby, what;
} LoopSlots;
static LoopSlots loop_slots;
static PyTypeObject *loop_state;

int
loop_knows(PyObject *class)
{
    LoopSlots found;
    for (int i = 0; i < GIVEN_COUNT; i++) {
        if (!(found.given[i] = slot(class, given[i].name)))
            return -1;
    }
    if (!(found.refill_at = slot(class, "refill_at")) || !(found.standby = slot(class, "standby"))
        || !(found.what = slot(class, "what")))
        return -1;
    loop_slots = found;
    loop_state = (PyTypeObject *)Py_NewRef(class);
    return 0;
}

/* Whether an object is of the kind that the loop takes it for. */
static int
is_of_kind(int kind, PyObject *value)
{
    switch (kind) {
    case DICT:
        return PyDict_Check(value);
    case SET:
        return PySet_Check(value);
    case TUPLE:
        return PyTuple_Check(value);
    case BYTES:
        return PyBytes_Check(value);
    case BATCH:
        return PyBytes_Check(value) && PyBytes_GET_SIZE(value) == PAD;
    default:
        return 1;
    }
}

/* Put what a slot holds where it belongs in a Forker. On failure -1 and an exception. */
static int
take_in(int kind, PyObject *value, void *to)
{
    if (kind == NUMBER) {
        long whole = PyLong_AsLong(value);
        if (whole == -1 && PyErr_Occurred())
            return -1;
        if (whole < INT_MIN || whole > INT_MAX) {
            PyErr_SetString(PyExc_OverflowError, "a number of the loop is too large");
            return -1;
        }
        *(int *)to = (int)whole;
    }
    else if (kind == SECONDS) {
        double seconds = PyFloat_AsDouble(value);
        if (seconds == -1 && PyErr_Occurred())
            return -1;
        *(double *)to = seconds;
    }
    else {
        *(PyObject **)to = value;
    }
    return 0;
}

int
take_apart(PyObject *state, Forker *f)
{
    for (int i = 0; i < GIVEN_COUNT; i++) {
        PyObject *value = *at_slot(state, loop_slots.given[i]);
        if (value == NULL) {
            PyErr_Format(PyExc_AttributeError, "%s of the loop was not set", given[i].name);
            return -1;
        }
        if (!is_of_kind(given[i].kind, value)) {
            PyErr_Format(PyExc_TypeError, "%s of the loop can't be %.100R", given[i].name, value);
            return -1;
        }
        if (take_in(given[i].kind, value, (char *)f + given[i].to) < 0)
            return -1;
    }
    return 0;
}

int
is_loop_state(PyObject *object)
{
    return Py_IS_TYPE(object, loop_state);
}

void
say_what(PyObject *state, PyObject *what)
{
    set_slot(state, loop_slots.what, what);
}

int
leave(PyObject *state, const Forker *f, PyObject *what)
{
    PyObject *refill_at = PyFloat_FromDouble(f->refill_at);
    PyObject *standby = PyLong_FromLong(f->standby);
    if (refill_at == NULL || standby == NULL) {
        Py_XDECREF(refill_at);
        Py_XDECREF(standby);
        Py_DECREF(what);
        return -1;
    }
    set_slot(state, loop_slots.refill_at, refill_at);
    set_slot(state, loop_slots.standby, standby);
    say_what(state, what);
    return 0;
}
