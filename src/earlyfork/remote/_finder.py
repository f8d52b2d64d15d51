"""Modules that came over the connection: a finder that has their sources in memory.

It is part of the agent's text, and inherited by all that is forked there.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from types import CodeType, ModuleType

#: Module: whether it is a package, the file it was read from, its source (compressed).
Texts = "dict[str, tuple[bool, str, bytes]]"


class Finder:
    """Finds the modules whose sources were sent; it is asked before the file system is."""

    def __init__(self) -> None:
        self.texts: dict[str, tuple[bool, str, bytes]] = {}

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        """As importlib has it."""
        found = self.texts.get(name)
        if found is None:
            return None
        spec = ModuleSpec(name, self, origin=found[1], is_package=found[0])  # type: ignore[arg-type]
        spec.has_location = True  # so that the module has a `__file__`
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """As importlib has it: the usual one."""

    def exec_module(self, module: ModuleType) -> None:
        """As importlib has it."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        """As importlib has it."""
        _, file, _ = self._text(name)
        code: CodeType = compile(self.get_source(name), file, "exec", dont_inherit=True)
        return code

    def get_source(self, name: str) -> str:
        """As importlib has it; tracebacks show lines from here."""
        import zlib

        return zlib.decompress(self._text(name)[2]).decode()

    def is_package(self, name: str) -> bool:
        """As importlib has it."""
        return self._text(name)[0]

    def _text(self, name: str) -> tuple[bool, str, bytes]:
        found = self.texts.get(name)
        if found is None:
            raise ImportError(f"{name} was not sent here", name=name)
        return found


finder = Finder()


def add(texts: dict[str, tuple[bool, str, bytes]]) -> None:
    """Have these modules found."""
    finder.texts.update(texts)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
