#include <pthread.h>
#include <unistd.h>
#include <sys/prctl.h>
static int pipe_[2];
static void *body(void *unused) {
    char byte;
    prctl(PR_SET_NAME, "native-pool", 0, 0, 0);
    write(pipe_[1], "!", 1);
    for (;;) pause();
    return 0;
}
int start(void) {
    pthread_t thread;
    char byte;
    if (pipe(pipe_) || pthread_create(&thread, 0, body, 0)) return -1;
    return read(pipe_[0], &byte, 1);
}
