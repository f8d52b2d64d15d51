"""Gives a source tree the address of its repository: the project's links, and README's for PyPI.

    python release/face.py TREE https://host/owner/name

The repository does not name its own address: a fork, or a mirror, would name the wrong one. The
workflows know it, and say it when they build (`make wheels REPOSITORY=...`). PyPI shows the README
without the files around it, so there each link has to be a whole address.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: A link to something in the tree: no address, no place on the same page.
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>(?!https?:|#|mailto:)[^)\s]+)\)")


def with_addresses(readme: str, repository: str, tag: str) -> str:
    """README with whole addresses: of pages to read, and of files to show."""

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found["image"] else "blob"
        return f"{found['image']}[{found['text']}]({repository}/{kind}/{tag}/{found['path']})"

    return LINK.sub(link, readme)


def urls(repository: str, tag: str) -> str:
    """The table of pyproject.toml."""
    found = {
        "Homepage": repository,
        "Documentation": f"{repository}/tree/{tag}/docs",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Source": repository,
    }
    return "[project.urls]\n" + "".join(f'{name} = "{value}"\n' for name, value in found.items())


def main() -> int:
    """Change the tree that the command line names."""
    tree, repository = Path(sys.argv[1]), sys.argv[2].rstrip("/")
    project = tree / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert version is not None
    tag = f"v{version[1]}"
    assert "[project.urls]" not in text, "this tree has its addresses already"
    before = "[project.scripts]\n"
    assert text.count(before) == 1
    project.write_text(text.replace(before, urls(repository, tag) + "\n" + before), "utf-8")
    readme = tree / "README.md"
    changed = with_addresses(readme.read_text(encoding="utf-8"), repository, tag)
    readme.write_text(changed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
