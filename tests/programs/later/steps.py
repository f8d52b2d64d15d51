"""Does something at the n-th step of what puts the halves together, for each n, in a child each."""

import os
import sys


def steps(function, action, look, by):
    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_name != function or not frame.f_code.co_filename.endswith(
            "late_socket.py"
        ):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                action()
        return trace

    for step in range(1, 10_000, by):
        reader, writer = os.pipe()
        if not os.fork():
            try:
                left = step
                sys.settrace(trace)
                try:
                    import socket  # noqa: F401 - which puts them together

                    reached = left <= 0
                except KeyboardInterrupt:
                    reached = True
                sys.settrace(None)
                os.write(writer, repr(look()).encode() if reached else b"the end")
            except BaseException as error:
                os.write(writer, repr(error).encode())
            os._exit(0)
        os.close(writer)
        said = os.read(reader, 1000).decode()
        os.close(reader)
        os.wait()
        if said == "the end":
            return
        yield said
