"""The project's own commands as the steps of a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_models.command import UserError

ROOT = Path(__file__).parents[1]


def run(*arguments, lost: str) -> None:
    """Run Python with `arguments` in the repository; UserError, saying that no `lost` was written, when it fails."""
    finished = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT)
    if finished.returncode:
        raise UserError(f"{arguments[0]} {arguments[1]} ended with {finished.returncode}; no {lost} was written.")


def figures(*arguments, lost: str) -> dict:
    """What a command writes with --json. UserError as of `run`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        run(*arguments, "--json", file, lost=lost)
        return json.loads(file.read_text(encoding="utf-8"))
