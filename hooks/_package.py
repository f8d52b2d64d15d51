"""What earlyfork consists of, found without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def modules() -> list[str]:
    """The names of earlyfork and all its modules."""
    spec = importlib.util.find_spec("earlyfork")
    assert spec is not None  # PyInstaller has found it, or it would run no hook of ours
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
    return [".".join(file.parts).removesuffix(".__init__") for file in files]


def private(package: str) -> list[str]:
    """The names of the private modules of a package, which may be loaded by name."""
    return [name for name in modules() if name.startswith(f"{package}._")]
