"""An enum of a user's: a value that only pickle can send."""

from enum import Enum


class Colour(Enum):
    """Whose members are sent."""

    RED = 1
    GREEN = 2
