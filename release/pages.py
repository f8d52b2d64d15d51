"""A hook of mkdocs: what the documentation site has that docs/ does not hold itself.

README and its like become pages, diagrams become pictures, and a page that would load anything from
the network fails the build. `make docs` is what calls it; mkdocs.yml names it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import mermaidx
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from typing import Any

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
#: Files of the repository that are pages of the site, under another name there.
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\((?!\w+:|#)([^)\s#]*)(#[^)\s]*)?\)")
PICTURE = re.compile(r"(!\[[^\]]*\]\()docs/")
FENCE = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
#: What a browser fetches without being asked, as opposed to a link.
LOADED = re.compile(
    r'<(?:script|img|iframe|link rel="(?!canonical)[^"]*")[^>]*(?:src|href)="(\w+:)?//[^"]*"'
)
FETCHED = re.compile(r"@import|url\(\s*[\"']?(?:https?:)?//")

#: Diagrams break their lines, so that they can be read without being made larger.
NARROW = (
    '%%{init: {"sequence": {"wrap": true, "width": 210, "actorMargin": 90, "messageMargin": 30, '
    '"mirrorActors": false}}}%%\n'
)


def on_config(config: MkDocsConfig) -> None:
    """Have blocks of mermaid drawn by `draw`."""
    fence = {"name": "mermaid", "class": "diagram", "format": draw}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that are pages here."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, **_: object) -> str:
    """Have links name pages of the site.

    A file that is no page here is linked where the repository is, if that is known, or named only.
    """
    place = page.file.src_uri
    source = {page: source for source, page in PAGES.items()}.get(place, f"docs/{place}")

    def target(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        found = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / found).exists():
            raise PluginError(f"{source} has a link to {path}, which is not there")
        if found in PAGES:
            found = PAGES[found]
        elif found.startswith("docs/"):
            found = found.removeprefix("docs/")
        elif config.repo_url:
            return f"[{text}]({config.repo_url}/blob/HEAD/{found})"
        else:
            return text if text.startswith("`") else f"{text} (`{found}`)"
        if text == path:  # README and its like name the file; here its title is the better name
            text = title(found)
        return f"[{text}]({posixpath.relpath(found, posixpath.dirname(place) or '.')}{anchor})"

    parts = FENCE.split(markdown)  # what is between fences stays as it is
    parts[::2] = [PICTURE.sub(r"\1", LINK.sub(target, part)) for part in parts[::2]]
    return "".join(parts)


def title(page: str) -> str:
    """What the first heading of a page says."""
    source = {page: source for source, page in PAGES.items()}.get(page, f"docs/{page}")
    heading = re.search(r"^# (.+)$", (ROOT / source).read_text("utf-8"), re.MULTILINE)
    return heading[1] if heading else page


def draw(source: str, *_: object, **__: object) -> str:
    """Make a diagram's picture now: the script that draws it in a browser has megabytes."""
    return f'<div class="diagram">{mermaidx.render(NARROW + source).svg()}</div>'


def on_post_build(config: MkDocsConfig) -> None:
    """Look whether a page, or its style, would load anything from elsewhere."""
    for file in sorted(Path(config.site_dir).rglob("*")):
        look_for = {".html": LOADED, ".css": FETCHED}.get(file.suffix)
        found = look_for and look_for.search(file.read_text("utf-8"))
        if found:
            raise PluginError(f"{file} would load something from the network: {found[0]}")
