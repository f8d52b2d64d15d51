"""The laws of src/earlyfork: which folder may import which, and what each may touch.

Read from the source without running it. The laws are tables; a new file or folder must be given its
place here: that is the moment to think about it. What each folder is for: docs/design.md, "The map".
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "earlyfork"

#: What stands at the door: the first four are all that a program's first line loads.
DOOR = {"__init__", "_early", "_context", "_quick", "_importer", "_fork_free"}
FACE = {"__main__", "_commands", "_run", "doctor", "template"}
#: Layers on top, as a user's own would be: what `earlyfork` exports, and themselves.
ON_TOP = {"mp", "command", "rpc", "pool", "aio", "remote", "top"}
#: The two halves never import each other; `_origin` alone knows both.
MAY_IMPORT = {
    "_shared": {"_context", "_quick"},
    "_child": {"_shared", "_context"},
    "_ground": {"_shared.wire"},
    "_owner": {"_shared", "_ground", "_context"},
    "_origin": {"_owner", "_child", "_shared", "_ground", *DOOR - {"__init__"}},
    "door": {"_origin", "_owner", "_child", "_ground", *DOOR},
    "face": {"_origin", "_owner", "_ground", "_shared", "top", *DOOR},
    **{layer: {"__init__"} for layer in ON_TOP},
    "pool": {"__init__", "rpc"},
    "aio": {"__init__", "rpc", "command", "pool"},  # one engine, another driver
    # It speaks the template's part of the protocol, and sends the child's half over there.
    "remote": {"__init__", "_context", "_shared", "_child", "_origin.child_text"},
    "top": {"__init__", "rpc"},  # what rpc's clients show, read from outside
}
#: The child's text, which launched interpreters run: the stdlib and itself.
SHIPPED = {"_shared", "_child", "_context"}

#: What costs milliseconds: not in the shipped text when it is loaded (inside a function it may be).
HEAVY = {
    "asyncio", "collections", "contextlib", "dataclasses", "enum", "functools", "inspect",
    "logging", "multiprocessing", "pathlib", "pickle", "re", "selectors", "socket", "subprocess",
    "tempfile", "threading", "traceback", "typing",
}  # fmt: skip
#: Module: where it may be imported. Anything else about platforms is asked of `_ground`.
IMPORTED_ONLY_BY = {
    # In `rights`; in `huge`, without the part in C; in `_tasks`.
    "ctypes": {"_ground", "_child", "_shared", "rpc"},
    # In `guard`, `executing` and `rights`; in `whole`; in `there`; in `_board`.
    "fcntl": {"_ground", "_child", "_origin", "command", "rpc"},
    "msvcrt": {"_ground"},
    "struct": {"_ground", "mp", "top"},
    "_struct": {"_shared", "remote", "rpc"},
    "multiprocessing": {"mp"},  # drags a runtime hook of PyInstaller into every app
    "pty": set(),
}
#: Bytes in, bytes out: no system, no state.
PURE = {"_shared.wire", "_shared.payloads", "_ground.errors"}
FORBIDDEN_IN_PURE = {"os", "posix", "socket", "_socket", "sys", "time", "threading", "_thread"}
#: Attributes of `sys` that tell what this is running on: `_ground` answers for them.
GROUND_ATTRIBUTES = {"platform", "frozen", "_MEIPASS", "getwindowsversion"}
#: The marker for a re-executed frozen app is no setting; nor is what leaves the part in C out.
READS_ENVIRONMENT = {
    ("_ground.marker", "EARLYFORK_SERVE"),
    ("_shared.quick", "EARLYFORK_PURE"),
    ("_early", "EARLYFORK_PURE"),
}
#: What other code (gevent, eventlet, freezegun) puts functions of its own in the place of: it is taken
#: from `_shared.posix`, or from `posix` itself.
REPLACED = {
    "os": {"fork", "forkpty", "wait", "waitpid", "waitid", "read", "write", "close", "kill",
           "posix_spawn"},
    "select": {"select", "poll", "epoll"},
    "signal": {"signal", "getsignal", "set_wakeup_fd"},
    "time": {"sleep", "monotonic"},
}  # fmt: skip
#: Who makes sockets without `_shared.sockets`, which heeds default timeouts.
MAKES_SOCKETS = {
    *("_fork_free", "_ground.fds", "_ground.marker", "_shared.sockets", "_shared.surroundings"),
}
#: Who is meant to use what stands there: so that other greenlets run; or it is a tool for people.
USES_REPLACED = {
    *("_owner.waiting", "mp.popen", "doctor", "command.pseudo_terminal"),
    *("rpc._line", "rpc._reader", "pool._threads", "remote._stderr"),
    *("top._look", "top._show"),
}
#: Longer than this, a file says in its first lines why.
LONG = 400


class Module(NamedTuple):
    """One file of the package, with its name below `earlyfork`."""

    name: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """Its folder; the door's and the face's files lie in none."""
        top = self.name.partition(".")[0]
        if top in DOOR:
            return "door"
        return "face" if top in FACE else top

    @property
    def is_shipped(self) -> bool:
        return self.name.partition(".")[0] in SHIPPED


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts if len(parts) == 1 else (p for p in parts if p != "__init__"))


def module(name: str, source: str) -> Module:
    return Module(name, ast.parse(source))


FILES = sorted(SOURCE.rglob("*.py"))
NAMES = {name_of(path) for path in FILES}
ALL = [module(name_of(path), path.read_text(encoding="utf-8")) for path in FILES]


# --- what a file imports --------------------------------------------------------------------


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, in functions and for type checkers as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if base.partition(".")[0] != "earlyfork":
                yield node.lineno, base
                continue
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix("earlyfork.")
                yield node.lineno, f"earlyfork.{inner}" if _is_module(inner) else base


def _is_module(inner: str) -> bool:
    """Whether this names a file or folder of the package rather than something in one."""
    top, _, rest = inner.partition(".")
    return inner in NAMES or inner == "_quick" or (not rest and top in {*MAY_IMPORT, *FACE})


def own_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The imports of earlyfork's own files, by their names below `earlyfork`."""
    for line, name in imports(tree):
        if name.partition(".")[0] == "earlyfork":
            yield line, name.partition(".")[2] or "__init__"


def at_load(tree: ast.AST) -> ast.Module:
    """The import statements that run when the module is loaded."""
    found: list[ast.stmt] = []

    def look(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                found.append(child)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                look(ast.Module(child.orelse, []))
            elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                look(child)

    look(tree)
    return ast.Module(found, [])


# --- the laws -------------------------------------------------------------------------------


def violations(file: Module) -> Iterator[str]:
    """Say which laws a file breaks, with line numbers."""
    if file.folder not in MAY_IMPORT:
        yield f"{file.name} has no place: give it one in DOOR, FACE, ON_TOP or MAY_IMPORT"
        return
    for law in (
        between_folders,
        of_the_stdlib,
        of_purity,
        of_the_ground,
        of_the_face,
        of_handles,
        of_the_system,
    ):
        yield from (f"{file.name}:{text}" for text in law(file))


def between_folders(file: Module) -> Iterator[str]:
    allowed = MAY_IMPORT[file.folder]
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{node.lineno}: a file says the full name of what it imports"
    for line, name in own_imports(file.tree):
        folder = name.partition(".")[0]
        if folder == file.folder or (file.folder in {"door", "face"} and folder in DOOR | FACE):
            continue
        if folder not in allowed and name not in allowed:
            yield f"{line}: {file.folder} may not import {name}"


def of_the_stdlib(file: Module) -> Iterator[str]:
    loading = {(line, name) for line, name in imports(at_load(file.tree))}
    for line, name in imports(file.tree):
        top = name.partition(".")[0]
        if top == "earlyfork":
            continue
        if top not in sys.stdlib_module_names and file.folder not in ON_TOP:
            yield f"{line}: {top} is not in the stdlib: earlyfork has no dependencies"
        allowed = IMPORTED_ONLY_BY.get(top)
        if allowed is not None and file.folder not in allowed:
            yield f"{line}: {top} is imported only by {', '.join(sorted(allowed)) or 'nobody'}"
        if file.is_shipped and (line, name) in loading and top in HEAVY:
            yield f"{line}: {top} costs too much in the shipped text: import it where it is used"


def of_purity(file: Module) -> Iterator[str]:
    if file.name not in PURE:
        return
    for line, name in imports(file.tree):
        if name.partition(".")[0] in FORBIDDEN_IN_PURE:
            yield f"{line}: {file.name} must not import {name}"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: no module state: global {', '.join(node.names)}"
    for line, name in mutable_globals(file.tree):
        yield f"{line}: no module state: {name} is mutable"


def of_the_system(file: Module) -> Iterator[str]:
    if file.name in USES_REPLACED:
        return
    for call in ast.walk(file.tree):
        for node in (call.func, *call.args) if isinstance(call, ast.Call) else ():
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            module = node.value.id
            makes = module == "_socket" and node.attr in {"socket", "socketpair"}
            if makes and node is call.func and file.name not in MAKES_SOCKETS:
                yield f"{node.lineno}: a default timeout counts here: use socket_on or pair"
            if node.attr in REPLACED.get(module, ()):
                yield f"{node.lineno}: {module}.{node.attr} may be somebody else's function"


def mutable_globals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Module-level names bound to something mutable, unless written as constants are."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in map(ast.unparse, targets):
                if name != "__all__" and not name.lstrip("_").isupper():
                    yield node.lineno, name


def of_the_ground(file: Module) -> Iterator[str]:
    """What this is running on is asked in one folder; fds are received in another."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            if written in {f"sys.{name}" for name in GROUND_ATTRIBUTES}:
                if file.folder != "_ground":
                    yield f"{node.lineno}: {written} is asked only in _ground"
            elif node.attr in {"recvmsg", "recvmsg_into"} and file.folder in {"_owner", "_origin"}:
                yield f"{node.lineno}: {node.attr} is for _shared"
        elif isinstance(node, ast.Call) and file.folder != "_ground":
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if ast.unparse(node.func) in {"getattr", "hasattr"} and (
                ast.unparse(node.args[0]) == "sys" and GROUND_ATTRIBUTES & set(words)
            ):
                yield f"{node.lineno}: sys.{words[0]} is asked only in _ground"


def of_the_face(file: Module) -> Iterator[str]:
    """Settings, output and exits are the face's; `__init__` is at the door and the face's too."""
    if file.folder == "face" or file.name == "__init__":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "print":
                yield f"{node.lineno}: only the face prints"
            if called in {"sys.exit", "exit", "quit"} and not file.is_shipped:
                yield f"{node.lineno}: only the face exits"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = re.fullmatch(r"EARLYFORK(_[A-Z]+)?", node.value)
            if name and (file.name, node.value) not in READS_ENVIRONMENT:
                yield f"{node.lineno}: only the face reads the environment variable {node.value}"


def attributes_of_handles(files: Iterable[Module]) -> set[str]:
    """The underscored attributes of what `_owner` makes."""
    found = set()
    for file in files:
        for node in ast.walk(file.tree) if file.folder == "_owner" else ():
            if isinstance(node, ast.ClassDef):
                found |= {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
                found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.endswith("__")}


#: multiprocessing's resource tracker has names of its own, of which one is the same.
OTHERS = {"tracking"}


HANDLES = attributes_of_handles(ALL)


def of_handles(file: Module) -> Iterator[str]:
    """`Process` is its users': what others need of one is in `_owner.inside`."""
    if file.folder == "_owner":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and node.attr in HANDLES:
            holder = ast.unparse(node.value)
            if holder not in {"self", "cls", "super()", *OTHERS}:
                yield f"{node.lineno}: {holder}.{node.attr} is known to _owner only"


def circle(files: Iterable[Module]) -> list[str]:
    """Files that import each other in a ring, the first of them again at the end; [] if none do."""
    edges = {
        file.name: [name for _, name in own_imports(file.tree) if name != file.name]
        for file in files
    }
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in edges.get(name, ()):
                found = walk(other, [*path, name])
                if found:
                    return found
            done.add(name)
        return []

    return next(filter(None, (walk(name, []) for name in edges)), [])


# --- the package keeps them -----------------------------------------------------------------


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_keeps_the_laws(file: Module) -> None:
    assert list(violations(file)) == []


def test_no_files_import_each_other() -> None:
    assert circle(ALL) == []


def test_the_text_that_is_sent_is_all_of_the_child_in_the_order_of_its_imports() -> None:
    from earlyfork._origin.child_text import TEXTS

    shipped = {file.name: file for file in ALL if file.is_shipped and "." in file.name}
    assert {*TEXTS} == {*shipped, "_context"}
    for position, name in enumerate(TEXTS):
        needs = {other for _, other in own_imports(at_load(module_named(name).tree))}
        assert needs - {"_quick"} <= {*TEXTS[:position]}, name


def module_named(name: str) -> Module:
    return next(file for file in ALL if file.name == name)


def test_the_first_line_loads_what_stands_at_the_door() -> None:
    for name in ("__init__", "_early", "_context"):
        found = {other for _, other in own_imports(at_load(module_named(name).tree))}
        assert found <= {"_context", "_quick", "_fork_free"}, name  # the last without the part in C


def test_the_wheel_has_every_folder() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    folders = {".".join(("earlyfork", *p.parent.relative_to(SOURCE).parts)) for p in FILES}
    assert {*re.findall(r'"([^"]+)"', listed[1])} - {"_earlyfork_pyinstaller"} == folders


def on_the_map(tree: str) -> set[str]:
    """What the map of docs/design.md names, as paths below src without the endings of code."""
    found = set()
    root = room = ""
    for line in tree.splitlines():
        match = re.match(r"( *)(\S+(?:, \S+)*)(?:  |$)", line)
        if match is None:
            continue
        indent, names = len(match[1]), match[2].split(", ")
        if indent == 0:
            root, room = names[0].removeprefix("src/"), ""
        elif names[0].endswith("/"):
            room = names[0]
        else:
            found |= {root + (room if indent == 4 else "") + name for name in names}
    return found


def test_the_map_has_a_line_for_each_file() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    tree = re.search(r"^```\n(src/earlyfork/.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert tree is not None
    files = [p.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("*.*") if p.is_file()]
    there = {
        str(path.with_suffix("") if path.suffix in {".py", ".c"} else path)
        for path in files
        if path.suffix in {".py", ".c", ".h", ".pyi"}
        and (path.name != "__init__.py" or len(path.parts) == 2)  # a room has a line of its own
    }
    assert on_the_map(tree[1]) == there


@pytest.mark.parametrize(
    "path", [p for p in sorted((ROOT / "src").rglob("*.*")) if p.suffix in {".py", ".c", ".h"}]
)
def test_a_long_file_says_why(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONG or "onger than" in "\n".join(lines[:15]), len(lines)


# --- the check itself can fail --------------------------------------------------------------

RED = [
    ("_novel", "", "has no place"),
    ("_novel.file", "", "has no place"),
    ("_shared.wire", "import os", "_shared.wire must not import os"),
    ("_child.here", "os.close(3)", "os.close may be somebody else's function"),
    ("_child.here", "_socket.socket(fileno=3)", "a default timeout counts here"),
    ("mp.child", "map(os.close, fds)", "os.close may be somebody else's function"),
    ("_ground.errors", "def f():\n    import threading", "must not import threading"),
    ("_shared.payloads", "cache = {}", "cache is mutable"),
    ("_shared.wire", "def f():\n    global x\n    x = 1", "no module state: global x"),
    ("_shared.wire", "import enum", "enum costs too much"),
    ("_child.server", "from earlyfork._ground.fds import target", "_child may not import _ground"),
    ("_child.server", "from . import children", "the full name of what it imports"),
    ("_child.server", "import earlyfork", "_child may not import __init__"),
    ("_child.here", "def f():\n    from earlyfork import _early", "may not import _early"),
    ("_owner.watch", "from earlyfork._child.here import here", "_owner may not import _child"),
    ("_owner.watch", "from earlyfork._origin import launch", "_owner may not import _origin"),
    ("_ground.fds", "from earlyfork._shared import sockets", "_ground may not import _shared.so"),
    ("_shared.sockets", "from earlyfork._child import here", "_shared may not import _child"),
    ("_origin.new", "import earlyfork", "_origin may not import __init__"),
    ("mp.popen", "from earlyfork._ground import frozen", "mp may not import _ground.frozen"),
    ("pool.pool", "from earlyfork._owner.process import Process", "pool may not import _owner"),
    ("_child.server", "import numpy", "numpy is not in the stdlib"),
    ("_child.server", "try:\n    import pickle\nfinally:\n    pass", "pickle costs too much"),
    ("_owner.process", "import sys\nsys.platform", "sys.platform is asked only in _ground"),
    ("__init__", "import sys\nsys.platform", "sys.platform is asked only in _ground"),
    ("_early", "getattr(sys, 'frozen', False)", "sys.frozen is asked only in _ground"),
    ("_early", "import ctypes", "ctypes is imported only by _child, _ground, _shared, rpc"),
    ("_owner.process", "import fcntl", "fcntl is imported only by _child, _ground, _origin, c"),
    ("_owner.process", "import struct", "struct is imported only by _ground, mp"),
    ("_owner.process", "sock.recvmsg(1)", "recvmsg is for _shared"),
    ("_origin.interpreter", "os.environ.get('EARLYFORK_PYTHON')", "only the face reads"),
    ("_owner.process", "os.environ['EARLYFORK_SERVE']", "only the face reads"),
    ("_origin.launch", "print('x')", "only the face prints"),
    ("_owner.process", "import sys\nsys.exit(1)", "only the face exits"),
    ("_owner.files", "def f():\n    import multiprocessing.connection", "imported only by mp"),
    ("_origin.default", "template._watch.look()", "template._watch is known to _owner only"),
    ("doctor", "process._add(1, b'')", "process._add is known to _owner only"),
]
GREEN = [
    ("_ground.frozen", "import sys\ngetattr(sys, 'frozen', False)\nsys.platform\nimport ctypes"),
    ("_ground.marker", "os.environ.pop('EARLYFORK_SERVE', '')"),
    ("_origin.interpreter", "raise LaunchError('no interpreter; set EARLYFORK_PYTHON')"),
    ("_shared.wire", "from _struct import Struct\nNEXT = {}\n_SIZES = []\n__all__ = ['NEXT']"),
    ("_child.server", "if TYPE_CHECKING:\n    import typing\ndef f():\n    import pickle, socket"),
    ("_child.server", "from earlyfork._shared import wire\nimport earlyfork._child.here"),
    ("_origin.new", "from earlyfork._child.here import here\nfrom earlyfork._owner import inside"),
    ("pool.pool", "import earlyfork\nfrom earlyfork import Process, new\nimport joblib"),
    ("template", "from earlyfork._early import fork_template"),
    ("mp.method", "import multiprocessing\nfrom earlyfork.mp import popen"),
    ("__main__", "from earlyfork import _early\nprint(os.environ['EARLYFORK'])"),
    ("_owner.inside", "process._add(1, b'')"),
]


@pytest.mark.parametrize(("name", "source", "told"), RED, ids=[told for *_, told in RED])
def test_the_check_sees(name: str, source: str, told: str) -> None:
    assert any(told in text for text in violations(module(name, source)))


@pytest.mark.parametrize(("name", "source"), GREEN)
def test_the_check_allows(name: str, source: str) -> None:
    assert list(violations(module(name, source))) == []


def test_the_check_sees_a_circle() -> None:
    ring = [
        module("_child.server", "def f():\n    from earlyfork._child import commands"),
        module("_child.commands", "from earlyfork._child.here import here"),
        module("_child.here", "if TYPE_CHECKING:\n    from earlyfork._child.server import Server"),
    ]
    assert circle(ring) == ["_child.server", "_child.commands", "_child.here", "_child.server"]
    assert circle(ring[:2]) == []
