"""What can be named or copied in another process: functions, modules, values, signals.

Everything that a caller may get wrong is refused here, before anything is sent.
"""

from __future__ import annotations

import operator
import signal
import sys
from types import ModuleType

from earlyfork._ground import stack
from earlyfork._shared import payloads, wire


def check_dotted(name: object, what: str) -> None:
    """Refuse what is no dotted name.

    Raises:
        TypeError: it is no str.
        ValueError: it is not made of identifiers and dots.
    """
    if not isinstance(name, str):
        raise TypeError(f"a {what} is a str, not {type(name).__name__}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name!r} is no {what}: identifiers joined by dots are")


def target_name(function: object, main: dict[str, object] | None) -> str:
    """The name by which a function can be found in another process.

    Args:
        function: the function, or its name.
        main: the main program's own names, if they are in that process.

    Raises:
        TypeError: neither a name nor a function of a module.
        ValueError: a name that is none, or a function that another process can't find.
    """
    if isinstance(function, str):
        module, colon, path = function.partition(":")
        check_dotted(module, "function name")
        if colon:
            check_dotted(path, "function name")
        return function
    home = getattr(function, "__module__", None)
    path = getattr(function, "__qualname__", "")
    if isinstance(getattr(function, "__self__", None), (type, ModuleType)):
        pass  # a class method, or a function in C: it is found by its name
    elif hasattr(function, "__self__"):
        raise TypeError(
            f"{path} is bound to an object, which exists only here; give a function, and the "
            "object with send_arg()"
        )
    if not callable(function) or not home or not path:
        raise TypeError(
            f"a function of a module or its name is needed, not {function!r}; "
            "send other values with send_arg()"
        )
    if "<" in path:
        raise ValueError(
            f"{path} can't be found by name in another process: lambdas and functions inside "
            "functions exist only here; move it to the top level of a module"
        )
    if home == "__main__" and main is None:
        raise ValueError(
            f"{path} is defined in the main program, which a clean process does not contain; "
            "move it to a module, or fork from a snapshot (earlyfork.template)"
        )
    first, *more = path.split(".")
    if home == "__main__" and main is not None:
        found = main.get(first)
    else:
        found = getattr(sys.modules.get(home), first, None)
    for part in more:
        found = getattr(found, part, None)
    # Each look at a class method finds another object, which equals the last one.
    if found is not function and not (hasattr(function, "__self__") and found == function):
        raise ValueError(f"{home}:{path} is not {function!r}: another process would find another")
    refuse_unfinished(function)
    return f"{home}:{path}"


#: What a code object says of the function that it is of: generator, coroutine, async generator.
_UNFINISHED = 0x20 | 0x80 | 0x200


def refuse_unfinished(function: object) -> None:
    """Refuse functions that do nothing when they are called.

    Raises:
        TypeError: an async function or a generator function.
    """
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _UNFINISHED:
        raise TypeError(
            f"{getattr(function, '__qualname__', function)} is an async or a generator function, "
            "and would do nothing when it is called; give a function that runs it to its end, say "
            "by asyncio.run()"
        )


def pack_argument(value: object) -> tuple[int, bytes]:
    """One value as it travels.

    Raises:
        TypeError: it can't be pickled.
        ValueError: it is too long.
    """
    try:
        op, data = payloads.pack_value(value)
    except Exception as error:
        if stack.from_handler(error) or not _says_no_pickle(error):
            raise  # out of a signal handler, or out of the value's own code
        hint = "; files and sockets go with send_fh()" if hasattr(value, "fileno") else ""
        raise TypeError(
            f"{type(value).__name__} can't be sent, since it can't be pickled: {error}{hint}"
        ) from error
    if len(data) > wire.MAX_BULK:
        raise ValueError(
            f"a value of {len(data)} bytes is more than the {wire.MAX_BULK} that can be sent; "
            "write it to the socket that run() returns"
        )
    return op, data


def _says_no_pickle(error: Exception) -> bool:
    """Whether an error is one by which pickle says that a value can't be pickled."""
    own = getattr(sys.modules.get("_pickle"), "PickleError", TypeError)
    return isinstance(error, (TypeError, AttributeError, ValueError, RecursionError, own))


def join_arguments(packed: list[tuple[int, bytes]]) -> bytes:
    """The arguments of `eval` and `call`, as they travel."""
    body = b"".join([wire.frame(op, data) for op, data in packed])
    if len(body) > wire.MAX_BULK:
        raise ValueError(f"arguments of {len(body)} bytes are more than {wire.MAX_BULK}")
    return body


def signal_name(number: int) -> str:
    """`SIGTERM` for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_number(number: int) -> int:
    """A signal that can be sent.

    Raises:
        TypeError: it is no number.
        ValueError: no signal has this number.
    """
    found = operator.index(number)
    if found not in signal.valid_signals():
        raise ValueError(f"{found} is no signal of this system")
    return found
