"""Named only in only_named.py, which itself is only named: the hook follows such chains."""

from only_named import nest  # noqa: F401
