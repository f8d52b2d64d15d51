"""A second small module, loaded together with `small`."""

NAMES = ("red", "green", "blue")


def place(name: str) -> int:
    """Where a name stands."""
    return NAMES.index(name)


class Row:
    """Something that a module defines."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def first(self) -> object:
        """Of the values."""
        return self.values[0]
