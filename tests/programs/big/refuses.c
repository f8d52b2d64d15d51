/* Preloaded: each second MADV_COLLAPSE fails, with the errno in REFUSES; with ENOMEM all of them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

int madvise(void *address, size_t size, int advice)
{
    static unsigned calls;
    int (*real)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise");
    int error = advice == 25 && size ? atoi(getenv("REFUSES")) : 0;
    if (error && (error == ENOMEM || calls++ % 2 == 0)) {
        errno = error;
        return -1;
    }
    return real(address, size, advice);
}
