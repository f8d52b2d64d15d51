"""What multiprocessing is given: the method's name, its process class, its context.

Importing this file registers the method. The import must not fix the program's default method.
"""

from __future__ import annotations

import importlib
import operator
import os
from multiprocessing import context as _context
from multiprocessing import process
from multiprocessing.context import BaseContext
from typing import Any

import earlyfork
from earlyfork.mp.popen import Popen
from earlyfork.mp.template import Source, default, sources

context: Any = _context  # its private half is not in the type stubs


# -- the name --------------------------------------------------------------------------------------


class _Name(str):
    """The name of the start method. Where it is unpickled, the method is registered.

    Every child of "spawn" and "forkserver" is sent the name of the default start method. It looks
    that name up before anything else, and before it has our `sys.path`.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return str, (str(self),)
        return getattr, (_Import(), "NAME")


class _Import:
    """Unpickled as the package `earlyfork.mp`, whose place is put on `sys.path` before that.

    The place does not stay there: `spawn.prepare` replaces `sys.path` by the sender's.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        here = os.path.abspath(__file__)
        place = os.path.dirname(os.path.dirname(os.path.dirname(here)))  # that of the package
        add = (operator.methodcaller("append", place), (_Path(),))
        return operator.itemgetter(1), (
            (_Call(add), _Call((importlib.import_module, ("earlyfork.mp",)))),
        )


class _Path:
    """Unpickled as the receiver's `sys.path`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_Call((importlib.import_module, ("sys",))), "path")


class _Call:
    """Unpickled as the result of a call of (function, arguments)."""

    def __init__(self, call: tuple[Any, ...]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


NAME = _Name("earlyfork")


# -- what multiprocessing is given -----------------------------------------------------------------


class EarlyForkProcess(process.BaseProcess):
    """A process started by this method."""

    _start_method = NAME
    _popen: Any

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:  # noqa: N802 - multiprocessing's name
        return Popen(process_obj, default)

    @staticmethod
    def _after_fork() -> None:
        """Does nothing: `_take_over` in `child` has done it before it unpickled the process object.

        Done now, it would drop the finalizers that came with that object.
        """

    def start(self) -> None:
        """Start the process; from a daemonic one too.

        The standard library forbids that, since a daemonic process is killed without a chance to
        join its children. Here those are linked to it: they end when it ends.
        """
        self._check_closed()  # type: ignore[attr-defined]
        assert self._popen is None, "cannot start a process twice"
        assert self._parent_pid == os.getpid(), (  # type: ignore[attr-defined]
            "can only start a process object created by current process"
        )
        process._cleanup()  # type: ignore[attr-defined]
        self._popen = self._Popen(self)
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]
        process._children.add(self)  # type: ignore[attr-defined]

    @property
    def _sentinel(self) -> int:
        """What the standard library asks for with each start; made here when it is needed."""
        if self._popen is None:
            raise AttributeError("_sentinel")
        return self._popen.sentinel  # type: ignore[no-any-return]

    @_sentinel.deleter
    def _sentinel(self) -> None:
        """Does nothing: the fd belongs to the Popen object, and is closed with that."""


def _revive() -> EarlyForkProcess:
    return EarlyForkProcess.__new__(EarlyForkProcess)


class EarlyForkContext(BaseContext):
    """The context of this start method."""

    _name = NAME
    Process: type[process.BaseProcess] = EarlyForkProcess

    def __init__(self, source: Source | None = None) -> None:
        self._source = source or default
        if source is None:
            return

        def popen(process_obj: process.BaseProcess) -> Popen:
            return Popen(process_obj, source)

        def reduce(process_obj: process.BaseProcess, protocol: Any) -> Any:
            if type(process_obj) is self.Process:  # a class that only this context knows
                return _revive, (), process_obj.__dict__
            return object.__reduce_ex__(process_obj, protocol)

        self.Process = type(
            "EarlyForkProcess",
            (EarlyForkProcess,),
            {"_Popen": staticmethod(popen), "__reduce_ex__": reduce, "__module__": "earlyfork.mp"},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return get_context, ()

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Name modules that the template imports, if they can be imported; from the next start on.

        Raises:
            TypeError: `module_names` is no list of strings.
        """
        if not all(type(name) is str for name in module_names):
            raise TypeError("module_names must be a list of strings")
        self._source.preload = list(module_names)

    def _check_available(self) -> None:
        if not hasattr(os, "fork"):
            raise ValueError("the start method earlyfork needs a system that can fork")


def get_context(*, template: earlyfork.Process | None = None) -> EarlyForkContext:
    """The multiprocessing context of this start method.

    Args:
        template: a prepared process, say `earlyfork.new().require("numpy")`, or a snapshot: all
            processes of the context are forked from it as it is at the first start. A snapshot has
            the main module's functions already, so that the script is not run again for them.

    Raises:
        TypeError: `template` is no Process.
    """
    if template is None:
        return _registered
    if not isinstance(template, earlyfork.Process):
        raise TypeError(f"template= takes an earlyfork.Process, not {type(template).__name__}")
    source = Source(template)
    sources.append(source)
    return EarlyForkContext(source)


_registered = EarlyForkContext()
context._concrete_contexts[NAME] = _registered
