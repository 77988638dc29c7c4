"""Does a `.tflite` give the same masks in every interpreter? Each runs it in its own process, through `runtime.py`.

Interpreters differ in their kernels: XNNPACK rounds int8 otherwise than TFLite's own, and an ARM processor has other
instructions than the one that the model was verified on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tflite import runtime

TIME_LIMIT = 1800  # seconds for one interpreter

_PROGRAM = """
import importlib.metadata, importlib.util, json, platform, sys
import numpy as np
options = json.loads(sys.argv[1])
found = importlib.util.spec_from_file_location("runtime", options["runtime"])
runtime = importlib.util.module_from_spec(found)
found.loader.exec_module(runtime)
runtime.INTERPRETERS = (options["module"],)
segmenter = runtime.Segmenter(options["model"], delegates=options["delegates"])
np.save(options["result"], np.stack([segmenter.logits(image) for image in np.load(options["images"])]))
version = importlib.metadata.version(options["package"])
print(json.dumps({"version": version, "machine": platform.machine()}))
"""


@dataclass(frozen=True)
class Interpreter:
    """One way to run a model.

    `package` and `module`: what pip and Python call it; `python`: the command that starts a Python that has it;
    `delegates`: whether XNNPACK takes what it can; `processor`: what is emulated, if anything is.
    """

    package: str
    module: str
    python: tuple[str, ...] = (sys.executable,)
    delegates: bool = True
    processor: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        processor = f" on {self.processor}" if self.processor else ""
        return f"{self.package} {'with' if self.delegates else 'without'} XNNPACK{processor}"


def installed(tflite_runtime: str | None = None) -> list[Interpreter]:
    """Those of this Python, and tflite-runtime of the Python `tflite_runtime`; each with XNNPACK and without."""
    kinds = [("ai-edge-litert", "ai_edge_litert.interpreter", sys.executable)]
    kinds.append(("tensorflow", "tensorflow.lite.python.interpreter", sys.executable))
    if tflite_runtime:
        python = str(Path(shutil.which(tflite_runtime) or tflite_runtime).absolute())  # each runs in its own folder
        kinds.append(("tflite-runtime", "tflite_runtime.interpreter", python))
    return [Interpreter(*kind[:2], (kind[2],), delegates) for kind in kinds for delegates in (True, False)]


def compare(model: str | Path, images: np.ndarray, interpreters: Sequence[Interpreter]) -> list[dict]:
    """A row for each interpreter, against the first of them; `images` RGB uint8 (n, height, width, 3).

    differing_pixels: the share of pixels with another label; largest_difference: of logits. ModelError when an
    interpreter cannot run the model.
    """
    rows, reference = [], None
    for interpreter in interpreters:
        facts, logits = run(model, images, interpreter)
        reference = logits if reference is None else reference
        differing = _labels(logits) != _labels(reference)
        rows.append(
            {
                "interpreter": interpreter.title,
                **facts,
                "xnnpack": interpreter.delegates,
                "differing_pixels": float(differing.mean()),
                "images_with_differences": int(differing.any(axis=(1, 2)).sum()),
                "largest_difference": float(np.abs(logits - reference).max()),
            }
        )
    return rows


def run(model: str | Path, images: np.ndarray, interpreter: Interpreter) -> tuple[dict, np.ndarray]:
    """Version and machine of the interpreter, and its logits float32 (n, h, w, classes). ModelError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"images": f"{folder}/images.npy", "result": f"{folder}/logits.npy"}
        np.save(files["images"], images)
        options = {
            "runtime": str(Path(runtime.__file__).resolve()),
            "model": str(Path(model).resolve()),
            "package": interpreter.package,
            "module": interpreter.module,
            "delegates": interpreter.delegates,
            **files,
        }
        try:
            done = subprocess.run(
                [*interpreter.python, "-c", _PROGRAM, json.dumps(options)],
                cwd=folder,
                env=os.environ | interpreter.environment,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise runtime.ModelError(f"{interpreter.title}: {interpreter.python[0]} did not run: {error}") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            raise runtime.ModelError(f"{interpreter.title} cannot run {model}: {said}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(files["result"])


def _labels(logits: np.ndarray) -> np.ndarray:
    return logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)


def table(rows: list[dict]) -> str:
    """The rows as text."""
    lines = []
    for row in rows:
        same = (
            f"{100 * row['differing_pixels']:.4f} % of pixels differ, logits by {row['largest_difference']:.3f} at most"
        )
        if row["largest_difference"] == 0:
            same = "the same logits" if row is not rows[0] else "what the others are compared with"
        lines.append(f"  {row['interpreter']:50s}  {row['version']:8s}{row['machine']:9s}{same}")
    return "\n".join(lines)
