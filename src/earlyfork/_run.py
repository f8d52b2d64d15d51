"""`python -m earlyfork run`: a program runs as Python would run it, with an early template.

The template was forked when `earlyfork` was imported; what is left is to be Python's command line:
a script, a folder or archive, `-m module`, `-c code`, `-`, or the name of a console script. This is
on the way of every start of such a program, so it loads no more than Python itself does, not even
`__future__`.
"""

import io
import os
import sys

from earlyfork._context import fresh_main

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, TracebackType

ABOUT = "run a program that was not written for earlyfork with an early template"
USAGE = "run [-h] (SCRIPT | -m MODULE | -c CODE | -) [ARG ...]"

#: Our own `__main__`, kept alive: its functions are still on the stack.
_replaced: list[object] = []


def run(words: list[str], prog: str) -> int:
    """Run the program that the words name; its exit status, unless it ends by an exception.

    Args:
        words: what stands behind `run` on the command line.
        prog: how this command was called, for messages.
    """
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0] in ("-h", "--help"):
        print(
            f"usage: {prog} {USAGE}\n\nRuns a program as Python would, with an early template. "
            "SCRIPT is a file, a folder or\narchive with a __main__, or a console script on the "
            f"PATH. Python's own options stand\nbefore: python -u -O -m earlyfork run SCRIPT"
        )
        return 0
    elif words and words[0].startswith("-") and words[0] != "-":
        return _run_option(words, prog)
    if not words:
        return _refuse(prog, "a script, or -m and a module, is needed")
    if words[0] == "-":
        return _run_stdin(words, prog)
    return _run_file(words[0], words[1:], prog)


def _refuse(prog: str, text: str) -> int:
    print(f"usage: {prog} {USAGE}\n{prog} run: error: {text}", file=sys.stderr)
    return 2


def _run_option(words: list[str], prog: str) -> int:
    """`-m module` and `-c code`; all other options are Python's."""
    flag = words[0][:2]
    if flag not in ("-m", "-c"):
        line = f"python {words[0]} -m earlyfork run ..."
        return _refuse(prog, f"{words[0]} is an option of Python's: say {line}")
    attached = words[0][2:]
    rest = words[1:] if attached else words[2:]
    if not attached and len(words) < 2:
        wanted = "a module" if flag == "-m" else "code"
        return _refuse(prog, f"{wanted} is needed behind {flag}")
    value = attached or words[1]
    if flag == "-m":
        return _run_module(value, rest, os.getcwd())
    sys.argv[:] = ["-c", *rest]
    _put_first("")
    return _execute(
        lambda: compile(value + "\n", "<string>", "exec", dont_inherit=True), code=value
    )


def _run_stdin(words: list[str], prog: str) -> int:
    """A program that is read from standard input, to its end, before it begins."""
    stream = sys.stdin
    if stream is None or stream.isatty():
        return _refuse(prog, "- reads a program from standard input, which is a terminal or closed")
    sys.argv[:] = words
    _put_first("")
    return _execute(
        lambda: compile(stream.buffer.read(), "<stdin>", "exec", dont_inherit=True), "<stdin>"
    )


def _run_module(name: str, args: list[str], first: str) -> int:
    """Run a module as `python -m` does: by the same function, which also says what is missing."""
    import runpy

    sys.argv[:] = ["-m", *args]
    _put_first(first)
    return _executed(lambda: runpy._run_module_as_main(name))  # type: ignore[attr-defined]


def _run_file(path: str, args: list[str], prog: str) -> int:
    """Run a script, or what has a `__main__` in it: the script, or else a console script."""
    if not os.path.exists(path):
        found = _on_path(path)
        if not found:
            place = os.path.abspath(path)
            text = f"can't open file {place!r}: [Errno 2] No such file or directory"
            print(f"{sys.executable}: {text}", file=sys.stderr)
            return 2
        if not _is_python(found):
            return _refuse(prog, f"{found} is no Python program")
        path = found
    sys.argv[:] = [path, *args]
    if _holds_modules(path):
        import runpy

        _put_first(os.path.abspath(path), always=True)
        main = "__main__"
        return _executed(lambda: runpy._run_module_as_main(main, alter_argv=False))  # type: ignore[attr-defined]
    _put_first(os.path.dirname(os.path.realpath(path)))
    place = os.path.abspath(path)
    return _execute(lambda: _code_of(place), place)


def _on_path(name: str) -> str:
    """The command that a shell would find; first among the scripts of this interpreter."""
    if os.sep in name or not name:
        return ""
    folders = [os.path.dirname(sys.executable or ""), *os.get_exec_path()]
    for folder in folders:
        found = os.path.join(folder, name)
        if folder and os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    return ""


def _is_python(path: str) -> bool:
    """Whether a command is a script or archive of Python's, by what its first bytes say.

    Where the path of an interpreter is too long for a `#!` line, installers write one for `sh`, and
    the interpreter in the second line.
    """
    with io.open_code(path) as file:
        head = file.read(1024)
    if not head.startswith(b"#!"):
        return head.startswith(b"PK")
    first, _, rest = head.partition(b"\n")
    return b"python" in first or (b"/sh" in first and rest.startswith(b"'''exec'"))


def _holds_modules(path: str) -> bool:
    """Whether this is a folder or an archive, by the question that Python asks."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _code_of(place: str) -> "CodeType":
    if place.endswith(".pyc"):
        from pkgutil import read_code

        with io.open_code(place) as file:
            found: CodeType | None = read_code(file)
        if found is not None:
            return found
    with io.open_code(place) as file:
        return compile(file.read(), place, "exec", dont_inherit=True)


def _put_first(entry: str, *, always: bool = False) -> None:
    """Put an entry where Python put one of its own at its start, if it did (not with -P or -I)."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = entry
    elif always:
        sys.path.insert(0, entry)


def _execute(compiled: "Callable[[], CodeType]", place: str | None = None, code: str = "") -> int:
    """Run code in a new `__main__` that is there to the very end; `code` is the text of `-c`."""

    def step() -> None:
        program = compiled()
        namespace = sys.modules["__main__"].__dict__
        if place is not None:
            namespace["__file__"] = place
        exec(program, namespace)

    return _executed(step, code)


def _executed(step: "Callable[[], object]", code: str = "") -> int:
    """Do this in a new `__main__`; tracebacks of what ends it begin with the program's own frames.

    The exception goes on up as it is, so the interpreter ends as it would without us: with what it
    prints, its exit status, and SIGINT after a Ctrl-C. Only what is handed to the hook is shorter.
    """
    _replaced.append(fresh_main())
    try:
        step()
    except SystemExit:
        raise
    except BaseException as error:
        _hide_our_frames(error)
        if code and sys.version_info >= (3, 13):  # which shows lines of it in tracebacks
            import linecache

            linecache.cache["<string>"] = (len(code), None, code.splitlines(True), "<string>")
        raise
    return 0


def _hide_our_frames(error: BaseException) -> None:
    """Have the hook that shows this error get its traceback without our frames and runpy's."""
    from earlyfork._ground import stack

    inner = error.__traceback__
    while inner is not None:
        name = inner.tb_frame.f_globals.get("__name__")
        if name != "runpy" and not stack.is_ours(inner.tb_frame):
            break
        inner = inner.tb_next
    hook = sys.excepthook

    def show(
        kind: type[BaseException], value: BaseException, traceback: "TracebackType | None"
    ) -> None:
        if value is error:
            traceback = inner
        hook(kind, value.with_traceback(traceback), traceback)

    sys.excepthook = show
