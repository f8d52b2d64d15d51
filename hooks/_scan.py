"""Finds the modules that a source text names to earlyfork only as strings.

It reads source with `ast`, and imports neither what it reads nor PyInstaller. (Byte code would say
the same, but differently on every version of Python, and without columns or f-strings.)

A name counts where it is written right in a call of a method `require`, `run` or `call`, of
whatever object. `require("a.b", "c")` names a.b and c; `run("a.b.f")`, `call("a.b.f", 1)` and
`run("a.b:obj.f")` name a.b; `run("f")` names none. A function that is given as an object was
imported by somebody, so PyInstaller knows its module.
"""

from __future__ import annotations

import ast
import keyword
from typing import NamedTuple

# What the methods call the parameter that holds the name.
_NAME_PARAMETER = {"run": "function", "call": "function"}
_METHODS = {"require", *_NAME_PARAMETER}


class Named(NamedTuple):
    """A module that is named, and the line that names it."""

    module: str
    line: int


class Found(NamedTuple):
    """What one source text says: the modules it names; lines whose names only the run will know."""

    named: list[Named]
    unknown: list[int]


def scan(source: str | bytes) -> Found:
    """Find the names in one module's source.

    Raises:
        SyntaxError: the text is no source of Python.
    """
    tree = ast.parse(source)
    bound = _Bound(tree)
    found = Found([], [])
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        method, receiver = node.func.attr, node.func.value
        if method not in _METHODS:
            continue
        if isinstance(receiver, ast.Name) and receiver.id in bound.modules:
            continue  # subprocess.run, asyncio.run: functions of a module, no methods
        for argument in _name_arguments(node, method):
            _look_at(argument, method, bound, found)
    return found


def module_of(method: str, name: str) -> str | None:
    """The module that a name given to `method` lies in; None for a bare or malformed name."""
    if method == "require":
        module = name
    elif ":" in name:
        module = name.partition(":")[0]
    else:
        module = name.rpartition(".")[0]
    if module == "__main__" or not all(map(_is_identifier, module.split("."))):
        return None
    return module


def _is_identifier(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


class _Bound:
    """The identifiers that a source binds to modules, and those bound by import, def or class."""

    def __init__(self, tree: ast.Module) -> None:
        self.modules: set[str] = set()
        self.definitions: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
                self.modules |= names
                self.definitions |= names
            elif isinstance(node, ast.ImportFrom):
                self.definitions |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.definitions.add(node.name)


def _name_arguments(call: ast.Call, method: str) -> list[ast.expr]:
    """The arguments of a call that should be names."""
    if method == "require":
        return call.args
    keywords = [k.value for k in call.keywords if k.arg == _NAME_PARAMETER[method]]
    return call.args[:1] or keywords


def _look_at(argument: ast.expr, method: str, bound: _Bound, found: Found) -> None:
    """Put what one argument says into `found`."""
    if isinstance(argument, ast.IfExp):
        _look_at(argument.body, method, bound, found)
        _look_at(argument.orelse, method, bound, found)
    elif isinstance(argument, ast.Starred) and isinstance(argument.value, (ast.Tuple, ast.List)):
        for element in argument.value.elts:
            _look_at(element, method, bound, found)
    elif isinstance(argument, ast.Constant):
        module = module_of(method, argument.value) if isinstance(argument.value, str) else None
        if module is not None:
            found.named.append(Named(module, argument.lineno))
    elif not _is_definition(argument, bound):
        found.unknown.append(argument.lineno)


def _is_definition(argument: ast.expr, bound: _Bound) -> bool:
    """Whether this can only be an object that the module itself imported or defined."""
    if isinstance(argument, (ast.Lambda, ast.List, ast.Tuple, ast.Dict, ast.Set)):
        return True  # this is no name; earlyfork says at the call what is wrong with it
    while isinstance(argument, ast.Attribute):
        argument = argument.value
    return isinstance(argument, ast.Name) and argument.id in bound.definitions
