"""The PyInstaller hooks: which modules they name, and their scanner on sources of every shape."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from _earlyfork_pyinstaller import _scan

ROOT = Path(__file__).parents[1]


def is_module(name: str) -> bool:
    place = ROOT.joinpath("src", *name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


HOOKS = sorted(path.name for path in (ROOT / "hooks").glob("hook-*.py"))


@pytest.mark.parametrize("file", HOOKS)
def test_a_hook_is_for_a_module_that_exists(file: str) -> None:
    # PyInstaller never looks at a hook whose module was moved, and says nothing of it.
    assert is_module(file.removeprefix("hook-").removesuffix(".py"))


def test_the_runtime_hook_imports_what_exists() -> None:
    file = ROOT / "hooks" / "rthooks" / "pyi_rth_earlyfork.py"
    found = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert found
    assert {name for name in found if not is_module(name)} == set()


NAMED = {
    "run_dotted": ('p.run("pkg.mod.func")', ["pkg.mod"]),
    "run_colon": ('p.run("pkg.mod:obj.attr")', ["pkg.mod"]),
    "run_colon_top": ('p.run("mod:func")', ["mod"]),
    "run_bare": ('p.run("func")', []),
    "run_main": ('p.run("__main__.func")', []),
    "run_options": ('p.run("pkg.mod.func", linked=True)', ["pkg.mod"]),
    "run_keyword": ('p.run(function="pkg.mod.func")', ["pkg.mod"]),
    "run_second_argument": ('p.run("func", "pkg.mod.func")', []),
    "call": ('p.call("pkg.mod.func", "other.mod.x", key="more.mod.y")', ["pkg.mod"]),
    "require_one": ('p.require("pkg")', ["pkg"]),
    "require_many": ('p.require("pkg", "pkg.mod", "other")', ["pkg", "pkg.mod", "other"]),
    "require_star": ('p.require("a", *("b", "c"), *["d.e"])', ["a", "b", "c", "d.e"]),
    "chain": (
        """
        import earlyfork
        sock = (
            earlyfork.new()
            .require(
                "pkg.first",
                "pkg.second",
            )
            .send_arg("not.a.module")
            .call("pkg.third.init", 1)
            .run(
                "pkg.fourth.main"
            )
        )
        """,
        ["pkg.first", "pkg.second", "pkg.third", "pkg.fourth"],
    ),
    "choice": ('p.run("a.b.f" if fast else "c.d.f")', ["a.b", "c.d"]),
    "joined_literals": ('p.run("pkg.mod" ".func")', ["pkg.mod"]),
    "nested": (
        """
        def outer():
            def inner():
                return [p.run("pkg.one.f") for p in ps]
            return inner, lambda: p.run("pkg.two.f")
        class C:
            async def method(self):
                self.p.fork().run("pkg.three.f")
            class D:
                x = TEMPLATE.fork().require("pkg.four")
        """,
        ["pkg.one", "pkg.two", "pkg.three", "pkg.four"],
    ),
    "many_constants": (
        "\n".join(f"x = ('filler', {n}.5)" for n in range(400)) + '\np.run("late.mod.f")',
        ["late.mod"],
    ),
    "no_identifiers": (
        'p.require("no-name", "class.x", "", "a..b", ".rel"); p.run("ls -l"); p.call("a.b:")',
        ["a.b"],
    ),
    "no_strings": ('p.require(1, None); p.run(b"a.b.c"); p.run()', []),
    "other_methods": ('p.send_arg("a.b"); p.eval("import c"); require("d.e"); run("f.g.h")', []),
    "functions_of_modules": ('import subprocess\nsubprocess.run("a.b.c")', []),
    "method_of_imported_object": (
        'from earlyfork.template import TEMPLATE\nTEMPLATE.run("a.b.c")',
        ["a.b"],
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_finds_names(case: str) -> None:
    source, modules = NAMED[case]
    found = _scan.scan(textwrap.dedent(source))
    # ast.walk goes level by level, so the order is not the source's.
    assert sorted(name.module for name in found.named) == sorted(modules)
    assert found.unknown == []


UNKNOWN = {
    "variable": "p.run(name)",
    "f_string": 'p.require(f"pkg.{name}")',
    "sum": 'p.run("pkg." + name)',
    "call": "p.call(make_name(), 1)",
    "attribute": "p.run(self.worker)",
    "item": 'p.run(workers["x"])',
    "star": "p.require(*names)",
    "parameter": "def start(p, worker):\n    return p.run(worker)",
    "half_known": 'p.run("bare" if x else name)',
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_tells_the_line_of_what_cannot_be_known(case: str) -> None:
    source = UNKNOWN[case]
    found = _scan.scan(source)
    assert found.named == []
    assert found.unknown == [source.count("\n") + 1]


@pytest.mark.parametrize(
    "source",
    [
        "def worker(sock): ...\np.run(worker)",
        "from pkg.mod import worker\np.run(worker)",
        "import pkg.mod\np.run(pkg.mod.worker)",
        "from pkg import mod as m\np.run(m.worker)",
        "class C: ...\np.run(C.main)",
        "import asyncio\nasyncio.run(main())",
        "p.run(lambda sock: None)",
        "runner.run(['ls', '-l'])",
    ],
)
def test_a_function_given_as_such_needs_no_hint(source: str) -> None:
    assert _scan.scan(source) == _scan.Found([], [])


def test_lines_are_the_source_s() -> None:
    found = _scan.scan('x = 1\np.require(\n    "a",\n    "b.c",\n)\n')
    assert found.named == [_scan.Named("a", 3), _scan.Named("b.c", 4)]


def test_reads_the_encoding_that_the_source_declares() -> None:
    source = '# coding: latin-1\np.require("m\xfc")\n'.encode("latin-1")
    assert [name.module for name in _scan.scan(source).named] == ["m\xfc"]
