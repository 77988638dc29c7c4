"""Copy models into the app's assets: the presets of less than 2 MiB, and the `.tflite` files on the command line.

Each .tflite needs its spec (.json) beside it. Run by build_apk.sh and by Gradle; uses Python's standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRESETS = ROOT / "keras_models" / "presets"
ASSETS = Path(__file__).resolve().parent / "app" / "src" / "main" / "assets" / "models"
LARGEST = 2 << 20  # bytes of a preset that everybody who installs the app carries; a larger one is named


def presets() -> list[Path]:
    """The presets' files that the app has built in."""
    return sorted(path for path in PRESETS.glob("*/*.tflite") if path.stat().st_size < LARGEST)


def main(paths: list[str]) -> int:
    """Replace the assets by the presets and `paths`, the first of which the app opens; 2 for a wrong model."""
    models = presets() + [Path(path) for path in paths]
    for model in models:
        if problem := check(model):
            print(f"error: {problem}", file=sys.stderr)
            return 2
    shutil.rmtree(ASSETS, ignore_errors=True)
    ASSETS.mkdir(parents=True)
    first = ASSETS.with_name("first.txt")
    first.unlink(missing_ok=True)
    if paths:
        first.write_text(f"{Path(paths[0]).stem}\n", encoding="utf-8")
    for model in models:
        shutil.copyfile(model, ASSETS / model.name)
        shutil.copyfile(model.with_suffix(".json"), ASSETS / f"{model.stem}.json")
        print(f"  {model.name}: {model.stat().st_size / 1024:.0f} KiB")
    print(f"{len(models)} models in the app's assets")
    if not models:
        print("  None yet: train and convert one, then name it: android_demo/build_apk.sh MODEL.tflite")
    return 0


def check(model: Path) -> str | None:
    """Why `model` cannot be taken, or None."""
    spec = model.with_suffix(".json")
    if model.suffix != ".tflite" or not model.is_file():
        return f"there is no .tflite file {model}"
    if not spec.is_file():
        return f"{model} has no spec beside it; {spec.name} is written by tflite/convert.py"
    try:
        expected = json.loads(spec.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        return f"{spec} is no spec of a model: {error!r}"
    if hashlib.sha256(model.read_bytes()).hexdigest() != expected:
        return f"{spec} describes another file than {model}: the sha256 differs"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
