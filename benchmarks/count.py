"""System calls and page faults of one creation, on each side.

Two runs under strace, one longer than the other: the difference is what the creations cost, with
all starting and ending left out.
"""

from __future__ import annotations

import collections
import json
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stage import Stage

CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)")
FEW, MANY, GAP = 20, 100, 0.004


def count(stage: Stage) -> dict[str, Any]:
    """Per number of standbys: system calls by name and faults, per creation and side."""
    result: dict[str, Any] = {}
    for standby in ("2", "0"):
        env = {"EARLYFORK_STANDBY": standby}
        found = stage.probe("counted", "pages", env=env, count=MANY, gap=GAP)
        faults = {
            "caller": round(found["caller"], 1),
            "template": round(found["template"], 1),
            "worker before it was taken": statistics.median(found["worker before"]),
            "worker up to user code": statistics.median(found["worker"]),
        }
        result[f"standby {standby}"] = {"faults": faults, "calls": calls(stage, env)}
    bare = [
        stage.probe("bare", "faults", flags=("-I", "-S"), count=50),
    ]
    result["R"] = {"faults": {"child": statistics.median(bare[0]["faults"])}}
    return result


def calls(stage: Stage, env: dict[str, str]) -> dict[str, dict[str, float]]:
    """System calls by side and name."""
    if shutil.which("strace") is None:
        return {}
    few, many = (traced(stage, env, number) for number in (FEW, MANY))
    result = {}
    for side in ("caller", "template", "worker"):
        each = {
            name: round((many[side][name] - few[side][name]) / (MANY - FEW), 2)
            for name in many[side]
        }
        kept = {name: number for name, number in sorted(each.items()) if abs(number) >= 0.05}
        result[side] = {"all": round(sum(kept.values()), 1), **kept}
    return result


def traced(stage: Stage, env: dict[str, str], number: int) -> dict[str, collections.Counter[str]]:
    """One run."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        script = str(stage.probes / "counted.py")
        command = ["strace", "-f", "-qq", "-o", str(log), stage.python, script, "plain"]
        command += [f"count={number}", f"gap={GAP}"]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=True, timeout=120
        )
        who = json.loads(done.stdout)
        result: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for line in log.read_text(errors="replace").splitlines():
            match = CALL.match(line)
            if match is None or match[3] != "(":
                continue
            pid = int(match[1])
            side = {who["caller"]: "caller", who["template"]: "template"}.get(pid, "worker")
            result[side][match[2]] += 1
    return result


def show(found: dict[str, Any]) -> list[str]:
    """As lines."""
    lines = []
    for title, sides in found.items():
        lines.append(f"{title}:")
        lines += [f"  page faults, {who}: {number}" for who, number in sides["faults"].items()]
        for side, names in sides.get("calls", {}).items():
            text = ", ".join(f"{name} {number:g}" for name, number in names.items())
            lines.append(f"  system calls, {side}: {text}")
    return lines
