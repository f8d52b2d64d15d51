"""Sent to linked workers: what they may be doing when they should end. Each says "!" first."""

import os
import signal
import threading
import time


def waits(sock):
    sock.sendall(b"!")
    while True:
        signal.pause()


def sleeps(sock):
    sock.sendall(b"!")
    time.sleep(1000)


def spins(sock):
    sock.sendall(b"!")
    while True:
        pass


def ignores_sigterm(sock):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sock.sendall(b"!")
    threading.Event().wait()


def blocks_sigterm(sock):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sock.sendall(b"!")
    while True:
        pass


def is_stopped(sock):
    sock.sendall(b"!")
    os.kill(os.getpid(), signal.SIGSTOP)
