"""How a page is shown: as text, as JSON, or live in a terminal, with rich where it is installed."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from earlyfork.top import _look
from earlyfork.top._page import HEADS, LEFT, ends, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from earlyfork.top._page import Page


def main(pid: int | None, *, once: bool, as_json: bool, interval: float) -> int:
    """Show a page, or one after the other; what `python -m earlyfork top` does.

    Args:
        pid: of a program, or of a process that was made for it; None: all programs of this user.
        once: show one page.
        as_json: for machines: an object, or one for each page, on a line of its own.
        interval: seconds from one page to the next.

    Returns:
        The exit status: 0, or 1 if there is nothing to see.
    """
    try:
        page = _look.look(pid)
    except _look.NothingThereError as nothing:
        sys.stderr.write(f"earlyfork top: {nothing}\n")
        return 1
    if once:
        _write(page.as_json() if as_json else str(page))
        return 0
    try:
        _live(page, pid, interval, as_json=as_json)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
    return 0


def _live(page: Page, pid: int | None, interval: float, *, as_json: bool) -> None:
    if as_json:
        for one in _pages(page, pid, interval):
            _write(one.as_json(indent=None))
    elif not sys.stdout.isatty():
        for one in _pages(page, pid, interval):
            _write(f"{time.strftime('%H:%M:%S')}\n{one}\n")
    elif (rich := _rich()) is not None:
        rich(_pages(page, pid, interval))
    else:
        for one in _pages(page, pid, interval):
            size = shutil.get_terminal_size()
            lines = [line[: size.columns - 1] for line in str(one).splitlines()]
            if len(lines) >= size.lines:
                lines[size.lines - 2 :] = [f"... {len(lines) - size.lines + 2} lines more"]
            # From the top left corner, each line to its end, and what is below them erased.
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
            sys.stdout.flush()


def _pages(page: Page, pid: int | None, interval: float) -> Iterator[Page]:
    """One page after the other, until the program that was asked for has ended."""
    watched = page.programs[0].pid if pid is not None else None
    began = None if watched is None else _look.lived(watched)
    while True:
        yield page
        _wait(interval)
        try:
            page = _look.look(watched)
        except _look.NothingThereError as nothing:
            if watched is None:
                raise
            over = _look.lived(watched) != began
            yield page._replace(
                programs=(), problems=(f"process {watched} has ended" if over else str(nothing),)
            )
            return


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _wait(seconds: float) -> None:
    select.select([], [], [], seconds)


def _rich() -> Any:
    """What shows pages by rich; None where it is not installed."""
    try:
        from rich.console import Console, Group  # type: ignore[import-not-found, unused-ignore]
        from rich.live import Live  # type: ignore[import-not-found, unused-ignore]
        from rich.table import Table  # type: ignore[import-not-found, unused-ignore]
        from rich.text import Text  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    styles = {"program": "bold", "template": "cyan", "worker": "green"}

    def render(page: Page) -> Any:
        parts: list[Any] = []
        for program in page.programs:
            title = Text(program.command, no_wrap=True, overflow="ellipsis")
            lines = list(lines_of(program))
            table = Table(title=title, title_justify="left", box=None, pad_edge=False)
            for head, *column in zip(HEADS, *(cells for _, cells in lines), strict=True):
                # Where there is little room, what is run is cut short, and no number.
                width = None if head == "RUNS" else max(map(len, (head, *column)))
                side: Any = "left" if head in LEFT else "right"
                table.add_column(head, justify=side, no_wrap=True, min_width=width)
            for kind, cells in lines:
                table.add_row(*map(Text, cells), style=styles.get(kind, "dim"))
            parts.append(table)
        parts += [Text(line) for line in ends(page)]
        return Group(*parts)

    def show(pages: Iterator[Page]) -> None:
        with Live(console=Console(), auto_refresh=False) as live:
            for page in pages:
                live.update(render(page), refresh=True)

    return show
