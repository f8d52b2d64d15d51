"""PyInstaller hook: what an app that uses earlyfork must hold beyond what its imports show.

- All private modules of earlyfork: some are imported by name. Public modules are imported by
  whoever uses them.
- The source of the package: an interpreter that is launched gets the child's half as text.
- The modules that the app and its libraries name to earlyfork as strings (see `_scan`).

This file must not import earlyfork.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _earlyfork_pyinstaller import _package, _scan
from PyInstaller import log

logger = log.getLogger(__name__)

MODULES = _package.modules()

#: What belongs to `python -m earlyfork` alone, and imports what apps may not need.
COMMAND_LINE = {"earlyfork.__main__", "earlyfork._commands", "earlyfork._run"}

hiddenimports = [name for name in _package.private("earlyfork") if name not in COMMAND_LINE]
module_collection_mode = "pyz+py"


def hook(api: Any) -> None:
    """Collect the modules that are named as strings, and those that these name in turn."""
    unknown: list[str] = []
    tried: set[str] = set()
    scanned: set[str] = set()
    while fresh := {name: code for name, code in _users(api).items() if name not in scanned}:
        scanned |= fresh.keys()
        for user, code in fresh.items():
            try:
                found = _scan.scan(Path(code.co_filename).read_bytes())
            except OSError:  # compiled only
                unknown.append(user)
                continue
            unknown += (f"{user}:{line}" for line in found.unknown)
            for module, line in found.named:
                if module not in tried:
                    tried.add(module)
                    _collect(api, module, f"{user}:{line}")
    if unknown:
        logger.info(
            "earlyfork: only the running app will know what is named at %s; "
            "a module that nothing imports needs --hidden-import=MODULE",
            ", ".join(sorted(unknown)),
        )


def _users(api: Any) -> dict[str, Any]:
    """The code of every module that imports earlyfork or a module of it, by name."""
    users: dict[str, Any] = {}
    for module in MODULES:
        users |= api.graph.get_code_using(module)
    return {name: code for name, code in users.items() if name not in MODULES}


def _collect(api: Any, module: str, where: str) -> None:
    """Add a module to the app now, so that what it names can be found as well."""
    try:
        api.graph.import_hook(module, api.node)
    except ImportError:
        message = "earlyfork: the module %r that %s names was not found: the app will be without it"
        logger.warning(message, module, where)
    else:
        logger.info("earlyfork: collecting %s, named at %s", module, where)
