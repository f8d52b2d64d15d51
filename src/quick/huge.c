/* What _shared/huge.py needs of the kernel: to put memory of this process into a huge page. */
#include "quick.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  /* Linux 6.1; the headers of the machine that built this may be older */
#endif

PyObject *
collapse(PyObject *self, PyObject *args)
{
    Py_ssize_t size;
    unsigned long long address;
    (void)self;
    if (!PyArg_ParseTuple(args, "Kn:collapse", &address, &size))
        return NULL;
    int failed = madvise((void *)(uintptr_t)address, (size_t)size, MADV_COLLAPSE);
    return PyLong_FromLong(failed ? errno : 0);
}
