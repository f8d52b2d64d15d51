"""The layers of src/earlyfork and what each may touch, read from the source without running it.

The laws are tables. A new file must be given a layer here: that is the moment to think about it.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parent.parent / "src" / "earlyfork"

#: From top to bottom. A module may import its own layer and those below.
LAYERS = {
    "face": {"__init__", "__main__", "doctor"},
    "top": {
        *("template", "aio", "mp", "rpc", "pool", "remote"),
        *("_mp_around", "_mp_child", "_mp_popen", "_mp_template"),
    },
    "core": {
        *("_process", "_channel", "_linked", "_origin", "_watch", "_status"),
        *("_early", "_asks", "_free", "_shed"),
    },
    "means": {"_launch", "_interpreter", "_names", "_health"},
    "ground": {"_platform", "_fds", "_handles", "_frozen"},
    "child": {
        *("_serve", "_obey", "_guard", "_leave", "_here", "_children", "_context", "_tree"),
        *("_hot", "_later", "_quickly", "_root"),
    },
    "wire": {"_wire", "_errors", "_quick"},
}
ORDER = list(LAYERS)
LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}

#: The text that launched interpreters run: the stdlib and itself, nothing else of earlyfork.
SHIPPED = LAYERS["child"] | {"_wire", "_quick"}
#: What costs milliseconds: not in the shipped text when it is loaded (inside a function it may be).
HEAVY = {
    "asyncio", "collections", "contextlib", "dataclasses", "enum", "functools", "inspect",
    "logging", "multiprocessing", "pathlib", "pickle", "re", "selectors", "socket", "subprocess",
    "tempfile", "threading", "traceback", "typing",
}  # fmt: skip
#: Module: where it may be imported. Anything else about platforms is asked of the ground layer.
IMPORTED_ONLY_BY = {
    "ctypes": {"ground"},
    "fcntl": {"ground", "child"},  # there in _guard alone
    "msvcrt": {"ground"},
    "struct": {"ground", "child", "wire"},
    "_struct": {"child", "wire"},
    "multiprocessing": set(),  # drags a runtime hook of PyInstaller into every app; only `mp` may
    "pty": set(),
}
FORBIDDEN_IN = {
    "wire": {"os", "posix", "socket", "_socket", "sys", "time", "threading", "_thread"},
}
#: Attributes of `sys` that tell what this is running on: the ground layer answers for them.
GROUND_ATTRIBUTES = {"platform", "frozen", "_MEIPASS", "getwindowsversion"}
#: The marker for a re-executed frozen app is no setting: means set it, ground takes it out.
MARKER = {"EARLYFORK_SERVE"}
#: Nor is this: it tells the two modules that load the part in C to leave that out.
SWITCH = {("_hot", "EARLYFORK_PURE"), ("_early", "EARLYFORK_PURE")}
MAY_IMPORT_PRIVATE = {
    "template",  # forks the main program itself, which no Process can do
    "_mp_template",  # asks the ground whether this is a frozen app, as it may not ask itself
}


def violations(module: str, source: str) -> Iterator[str]:
    """Say which laws a module breaks, with line numbers."""
    layer = LAYER_OF.get(module)
    if layer is None:
        yield f"{module}.py has no layer: give it one in LAYERS"
        return
    tree = ast.parse(source)
    at_load = set(imports_at_load(tree))
    for node in ast.walk(tree):
        found: Iterator[str] = iter(())
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = import_violations(module, layer, node, loading=node in at_load)
        elif isinstance(node, ast.Attribute):
            found = attribute_violations(layer, node)
        elif isinstance(node, ast.Call):
            found = call_violations(module, layer, node)
        elif isinstance(node, ast.Constant):
            found = constant_violations(module, layer, node)
        elif isinstance(node, ast.Global) and layer in {"means", "wire"}:
            found = iter([f"{layer} has no module state: global {', '.join(node.names)}"])
        for text in found:
            yield f"{module}.py:{node.lineno}: {text}"
    if layer == "wire":
        for line, name in mutable_globals(tree):
            yield f"{module}.py:{line}: wire has no module state: {name} is mutable"


def imports_at_load(tree: ast.AST) -> Iterator[ast.AST]:
    """The import statements that run when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports_at_load(ast.Module([other], []))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports_at_load(node)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Absolute names: 'os.path', 'earlyfork._wire'; `from earlyfork import x` gives both."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        base = ".".join(filter(None, ["earlyfork", base]))
    if base != "earlyfork":
        yield base
        return
    for alias in node.names:
        a_module = alias.name in LAYER_OF or alias.name.startswith("_")
        yield f"earlyfork.{alias.name}" if a_module else "earlyfork"


def import_violations(
    module: str, layer: str, node: ast.Import | ast.ImportFrom, *, loading: bool
) -> Iterator[str]:
    for name in imported(node):
        top, _, rest = name.partition(".")
        if top == "earlyfork":
            other = rest.partition(".")[0] or "__init__"
            yield from inner_import_violations(module, layer, other)
        elif top not in sys.stdlib_module_names:
            yield f"{top} is not in the stdlib: earlyfork has no dependencies"
        if top in FORBIDDEN_IN.get(layer, ()):
            yield f"{layer} must not import {top}"
        allowed = IMPORTED_ONLY_BY.get(top)
        if (
            allowed is not None
            and layer not in allowed
            and module.removeprefix("_").partition("_")[0] != "mp"
        ):
            yield f"{top} is imported only by {', '.join(sorted(allowed)) or 'mp'}"
        if module in SHIPPED and loading and top in HEAVY:
            yield f"{top} costs too much in the shipped text: import it where it is used"


def inner_import_violations(module: str, layer: str, other: str) -> Iterator[str]:
    there = LAYER_OF.get(other)
    if there is None:
        yield f"earlyfork.{other} has no layer"
    elif layer == "top" and other == "__init__":
        pass  # the public API, as any user's layer would import it
    elif layer == "top" and there != "top" and module not in MAY_IMPORT_PRIVATE:
        yield f"a layer on top uses the public API only, not earlyfork.{other}"
    elif ORDER.index(there) < ORDER.index(layer):
        yield f"upward import: {layer} imports {there} (earlyfork.{other})"
    elif module in SHIPPED and other not in SHIPPED:
        yield f"the shipped text imports itself only, not earlyfork.{other}"


def attribute_violations(layer: str, node: ast.Attribute) -> Iterator[str]:
    written = ast.unparse(node)
    if written in {f"sys.{name}" for name in GROUND_ATTRIBUTES} and layer != "ground":
        yield f"{written} is asked only in the ground layer"
    if layer == "core" and node.attr in {"recvmsg", "recvmsg_into"}:
        yield f"core does no {node.attr}: that is what the ground layer is for"


def call_violations(module: str, layer: str, node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    if called in {"getattr", "hasattr"} and layer != "ground":
        words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if ast.unparse(node.args[0]) == "sys" and GROUND_ATTRIBUTES & set(words):
            yield f"sys.{words[0]} is asked only in the ground layer"
    if called == "print" and layer != "face":
        yield "only the face prints"
    if called in {"sys.exit", "exit", "quit"} and layer != "face" and module not in SHIPPED:
        yield "only the face exits"


def constant_violations(module: str, layer: str, node: ast.Constant) -> Iterator[str]:
    if layer == "face" or not isinstance(node.value, str):
        return
    if re.fullmatch(r"EARLYFORK(_[A-Z]+)?", node.value):
        if node.value in MARKER and module in {"_frozen", "_launch"}:
            return
        if (module, node.value) in SWITCH:
            return
        yield f"only the face reads the environment variable {node.value}"


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


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_keeps_the_layers(path: Path) -> None:
    module = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert list(violations(module, path.read_text(encoding="utf-8"))) == []


RED = [
    ("_novel", "", "has no layer"),
    ("_wire", "import os", "wire must not import os"),
    ("_errors", "def f():\n    import threading", "wire must not import threading"),
    ("_wire", "cache = {}", "cache is mutable"),
    ("_wire", "def f():\n    global x\n    x = 1", "no module state: global x"),
    ("_wire", "import enum", "enum costs too much"),
    ("_serve", "from earlyfork._fds import Fd", "upward import: child imports ground"),
    ("_serve", "from . import _process", "upward import: child imports core"),
    ("_serve", "import earlyfork", "upward import: child imports face"),
    ("_serve", "from earlyfork._errors import LaunchError", "the shipped text imports itself only"),
    ("_serve", "import numpy", "numpy is not in the stdlib"),
    ("_serve", "try:\n    import pickle\nfinally:\n    pass", "pickle costs too much"),
    ("_launch", "from earlyfork._process import Process", "upward import: means imports core"),
    ("_fds", "from earlyfork import _launch", "upward import: ground imports means"),
    ("_process", "import sys\nsys.platform", "sys.platform is asked only in the ground layer"),
    ("__init__", "import sys\nsys.platform", "sys.platform is asked only in the ground layer"),
    ("_early", "getattr(sys, 'frozen', False)", "sys.frozen is asked only in the ground layer"),
    ("_early", "import ctypes", "ctypes is imported only by ground"),
    ("_process", "import fcntl", "fcntl is imported only by child, ground"),
    ("_process", "import struct", "struct is imported only by child, ground, wire"),
    ("_process", "sock.recvmsg(1)", "core does no recvmsg"),
    ("_interpreter", "os.environ.get('EARLYFORK_PYTHON')", "only the face reads"),
    ("_process", "os.environ['EARLYFORK_SERVE']", "only the face reads"),
    ("_launch", "print('x')", "only the face prints"),
    ("_process", "import sys\nsys.exit(1)", "only the face exits"),
    ("_process", "def f():\n    import multiprocessing.connection", "imported only by mp"),
    ("pool", "from earlyfork._process import Process", "uses the public API only"),
]
GREEN = [
    ("_frozen", "import sys\ngetattr(sys, 'frozen', False)\nsys.platform\nimport ctypes"),
    ("_frozen", "os.environ.pop('EARLYFORK_SERVE', '')"),
    ("_launch", "raise LaunchError('no interpreter; set EARLYFORK_PYTHON')"),
    ("_wire", "from struct import Struct\nNEXT = {}\n_SIZES = []\n__all__ = ['NEXT']"),
    ("_serve", "if TYPE_CHECKING:\n    import typing\ndef f():\n    import pickle, socket"),
    ("_serve", "from earlyfork import _wire\nfrom . import _children\nimport earlyfork._context"),
    (
        "_process",
        "from earlyfork import _early, _launch\nfrom earlyfork._errors import LaunchError",
    ),
    (
        "pool",
        "import earlyfork\nfrom earlyfork import Process, new\nfrom earlyfork import template",
    ),
    ("template", "from earlyfork._early import fork_here"),
    ("mp", "import multiprocessing"),
    ("__main__", "from earlyfork import _early\nprint(os.environ['EARLYFORK'])"),
]


@pytest.mark.parametrize(("module", "source", "told"), RED, ids=[told for *_, told in RED])
def test_the_check_sees(module: str, source: str, told: str) -> None:
    assert any(told in text for text in violations(module, source))


@pytest.mark.parametrize(("module", "source"), GREEN)
def test_the_check_allows(module: str, source: str) -> None:
    assert list(violations(module, source)) == []
