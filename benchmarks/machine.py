"""What a figure was measured on and with: it stands beside every result."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

from keras_models import command

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless")


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


def write(name: str, result: dict) -> Path:
    """Write `results/NAME.json` with the machine beside the figures."""
    path = RESULTS / f"{name}.json"
    command.write_text(path, json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    print(f"wrote {path}")
    return path
