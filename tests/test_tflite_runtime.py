"""A converted model under tflite-runtime 2.14, in an environment with neither TensorFlow nor Keras."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import small
from tests.small import SIZE, photos
from tflite import graph, runtime
from tflite.graph import rewrite
from tflite.quantize import converter

ROOT = Path(__file__).parents[1]
VENV = ROOT / "build" / "tflite-runtime"
PACKAGES = ["tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless<4.12"]

SCRIPT = """
import json, sys
import numpy as np
import runtime
segmenter = runtime.Segmenter(sys.argv[1])
np.save(sys.argv[3], np.stack([segmenter.logits(image) for image in np.load(sys.argv[2])]))
loaded = [name for name in ("tensorflow", "keras", "keras_models") if name in sys.modules]
print(json.dumps({"interpreter": type(segmenter._interpreter).__module__, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def python():
    """The interpreter of the environment, made once and kept in `build/`; its last wheels are for Python 3.11."""
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if base is None:
        pytest.skip("tflite-runtime has no wheels for Python 3.12 and later, and there is no python3.11 here")
    ready, python = VENV / "ready", VENV / "bin" / "python"
    if not ready.is_file() or ready.read_text() != "\n".join(PACKAGES):
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([base, "-m", "venv", VENV], check=True, timeout=300)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, timeout=900)
        ready.write_text("\n".join(PACKAGES))
    return python


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_the_same_masks_as_litert(python, mode, tmp_path):
    images = photos(8, SIZE, seed=900)
    calibration = photos(16, SIZE) if mode == "int8" else None
    network = rewrite.rewrite(graph.read(small.extremec3()), calibration)
    (tmp_path / "net.tflite").write_bytes(converter.to_tflite(network, mode, calibration))
    # As on a device: nothing but this file, a model and photos.
    shutil.copy(ROOT / "tflite" / "runtime.py", tmp_path)
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [python, "-c", SCRIPT, "net.tflite", "images.npy", "logits.npy"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {"interpreter": "tflite_runtime.interpreter", "loaded": []}
    found = np.load(tmp_path / "logits.npy")
    segmenter = runtime.Segmenter(tmp_path / "net.tflite")
    expected = np.stack([segmenter.logits(image) for image in images])
    # Its int8 kernels round differently from XNNPACK's, and an untrained network's logits lie close to 0.
    assert np.mean((found > 0) == (expected > 0)) > (0.9999 if mode == "float32" else 0.93)
    assert np.abs(found - expected).mean() < (1e-5 if mode == "float32" else 0.03) * np.abs(expected).max()
