"""The program that tests/hosts packs in many ways: host_app ORIGIN.

With the origin `early` it begins with `import earlyfork`, as the README says; with `library` only
host_library uses earlyfork; with `snapshot` it is itself the template.
"""

import sys

if "early" in sys.argv:
    import earlyfork  # noqa: F401 - the import is what makes the early template

import socket

import host_library


def bare(sock: socket.socket) -> None:
    """What a snapshot runs by its bare name."""
    sock.sendall(b"bare")


def main() -> None:
    """What an entry point names."""
    if "snapshot" in sys.argv:
        from earlyfork.template import TEMPLATE

        with TEMPLATE.fork().run("bare") as sock:
            print(f'"{sock.recv(4).decode()}"')
    else:
        host_library.report()


if __name__ == "__main__":
    main()
