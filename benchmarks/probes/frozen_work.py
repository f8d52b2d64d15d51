"""What the workers of frozen_app.py run. Imports nothing: that would be what is measured."""


def say(sock) -> None:  # noqa: ANN001 - typing would be an import
    sock.sendall(b"x")
