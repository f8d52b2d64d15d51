"""Commands, as `subprocess` runs them, started by a clean process in the place of this one.

`Popen` and `run` have subprocess's surface and exceptions. The program itself is never forked,
however large it is and whatever its threads do; and `prepare=` names a function that runs in the
new process before the command, which is what `preexec_fn` promises and can't keep beside threads.

This module is loaded in processes that become commands, too: so it loads the rest when it is used.
"""

TYPE_CHECKING = not __name__  # never; but jedi believes a plain False, and completes no name
if TYPE_CHECKING:
    from earlyfork.command.popen import Popen, run

__all__ = ["Popen", "run"]


def _load(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'earlyfork.command' has no attribute {name!r}")
    from earlyfork.command import popen

    globals().update(Popen=popen.Popen, run=popen.run)
    return globals()[name]


if not TYPE_CHECKING:  # to a type checker any name would exist
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
