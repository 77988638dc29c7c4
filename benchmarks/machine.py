"""What a figure was measured on and with: it stands beside every result."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

from keras_models import command
from keras_models.command import UserError

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless")
TIMING = ("processor", "cores", "ai-edge-litert")  # what milliseconds depend on


def describe() -> dict:
    """Processor, cores, system, versions and the day."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        models = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }


def grown(before: dict | None, same: tuple[str, ...] = ()) -> dict:
    """The machine of a result that keeps figures of `before`, with the first and the last day.

    UserError when one of its facts `same`, without which figures cannot be compared, is another now.
    """
    now = describe()
    if before is None:
        return now
    if other := [f"{key} {before.get(key)}, now {now[key]}" for key in same if before.get(key) != now[key]]:
        raise UserError(
            f"The figures so far were measured elsewhere ({'; '.join(other)}). Move them away to begin anew."
        )
    first = before["date"].split(" to ")[0]
    return before | {"date": first if first == now["date"] else f"{first} to {now['date']}"}


def kept(name: str, same: tuple[str, ...] = ()) -> dict:
    """`results/NAME.json`, where it is there, with its machine `grown`: for a command that adds figures to it."""
    path = RESULTS / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found | {"machine": grown(found.get("machine"), same)}


def write(name: str, result: dict) -> Path:
    """Write `results/NAME.json` with the machine beside the figures: the result's own where it has `kept` one."""
    path = RESULTS / f"{name}.json"
    command.write_text(path, json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    print(f"wrote {path}")
    return path
