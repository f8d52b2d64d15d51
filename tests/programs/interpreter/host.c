/* A program that embeds Python, with SETTINGS of its own, and runs CODE. */
#include <Python.h>
int main(int argc, char **argv) {
    PyStatus status;
    PyConfig config;
    int failed;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    SETTINGS
    status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (PyStatus_Exception(status)) return 3;
    status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status)) return 4;
    PyConfig_Clear(&config);
    failed = PyRun_SimpleString(CODE);
    if (Py_FinalizeEx() < 0) failed = 120;
    return failed ? 1 : 0;
}
