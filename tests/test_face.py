"""What strangers see first: links that lead somewhere, versions that agree, commands that exist."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="not in a source tree")


def face() -> ModuleType:
    spec = importlib.util.spec_from_file_location("face", ROOT / "release" / "face.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """The names of a page's headings in links, as hosts of repositories make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in HEADING.findall(text):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = CODE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name} links to {target}"


def test_the_site_has_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = set(re.findall(r"- (?:[^#\n]+: )?([\w/-]+\.md)$", site, re.MULTILINE))
    docs = ROOT / "docs"
    there = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    made = {"changelog.md", "contributing.md", "readme.md", "security.md"}  # by release/pages.py
    assert named == there | made


def public_names(module: Path) -> list[str]:
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


SOURCE = ROOT / "src" / "earlyfork"
MODULES = {"earlyfork": SOURCE / "__init__.py", "template": SOURCE / "template.py"} | {
    layer.parent.name: layer for layer in SOURCE.glob("[a-z]*/__init__.py")
}


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_all_public_names(name: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text("utf-8")
    prefix = "earlyfork" if name == "earlyfork" else f"earlyfork.{name}"
    shown = re.findall(rf"^::: {prefix}\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(public_names(MODULES[name]))


def test_readme_says_why_on_its_first_screen() -> None:
    first, _, rest = (ROOT / "README.md").read_text("utf-8").partition("\n\n![")
    assert rest, "a picture comes first"
    assert len(first.removeprefix("# earlyfork\n\n").splitlines()) <= 8


def test_readme_for_an_index_has_whole_addresses() -> None:
    text = face().with_addresses(
        "![p](docs/p.svg) [a](docs/a.md#b), [x](#y), [s](https://x.org/y)", "https://h/o/n", "v1"
    )
    assert text == (
        "![p](https://h/o/n/raw/v1/docs/p.svg) [a](https://h/o/n/blob/v1/docs/a.md#b), [x](#y), "
        "[s](https://x.org/y)"
    )
    readme = face().with_addresses((ROOT / "README.md").read_text("utf-8"), "https://h/o/n", "v1")
    assert not re.search(r"\]\((?!https?:|#)", CODE.sub("", readme))


def test_the_address_is_put_in_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    monkeypatch.setattr("sys.argv", ["face.py", str(tmp_path), "https://h/o/n/"])
    face().main()
    assert '\nIssues = "https://h/o/n/issues"\n' in (tmp_path / "pyproject.toml").read_text("utf-8")
    with pytest.raises(AssertionError, match="already"):
        face().main()


def test_versions_agree() -> None:
    def version(file: str, pattern: str) -> str:
        found = re.search(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE)
        assert found is not None, file
        return found[1]

    project = version("pyproject.toml", r'^version = "(.+)"$')
    assert version("src/earlyfork/__init__.py", r'^__version__ = "(.+)"$') == project
    assert version("CITATION.cff", r"^version: (.+)$") == project


def test_workflows_say_what_make_knows() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefile, re.MULTILINE))
    known = {name for names in known for name in names.split()}
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for words in re.findall(r"\bmake ([^\n]+)", workflow.read_text("utf-8")):
            targets = {word for word in words.split() if re.fullmatch(r"[a-z][\w-]*", word)}
            assert targets <= known, f"{workflow.name}: make {words}"
