/* A program that embeds Python as simply as can be, and runs CODE. */
#include <Python.h>
int main(int argc, char **argv) {
    int status;
    Py_Initialize();
    status = PyRun_SimpleString(CODE);
    if (Py_FinalizeEx() < 0) status = 120;
    return status ? 1 : 0;
}
