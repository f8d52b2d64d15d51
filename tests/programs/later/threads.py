"""Sent to a fresh interpreter: twenty threads there import `socket` at once."""


def f(s):
    import sys
    import threading

    sys.setswitchinterval(1e-6)
    found = []

    def look():
        try:
            import socket
            from socket import AddressFamily, create_server  # noqa: F401 - or an error

            found.append((socket.socket is type(s), socket.socket.__init__.__name__, len(dir(s))))
        except BaseException as error:
            found.append(repr(error))

    threads = [threading.Thread(target=look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(found), set(found) == {(True, "__init__", len(dir(s)))} or found)
