"""Losses, metrics, masks and figures are the same on JAX, and training goes on as exactly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_models import data, evaluate, predict
from tests.backend import ON_JAX, passes_under_jax
from tests.misfortunes import net
from tests.test_data import make_folder


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_losses_and_metrics_pass_under_jax():
    passes_under_jax("tests/test_losses.py", "tests/test_metrics.py")


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_photos_are_altered_on_the_device_under_jax():
    passes_under_jax("tests/test_on_device.py", "-n", "0", "-k", "everything or trains_on")


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_a_resumed_run_is_equal_to_an_unbroken_one_under_jax():
    passes_under_jax("tests/test_train.py", "-n", "0", "-k", "dropout")


WITHOUT_TENSORFLOW = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "ai_edge_litert"):
            raise ModuleNotFoundError(f"{name} is not here", name=name)
sys.meta_path.insert(0, Absent())
from keras_models import evaluate, predict
import keras
assert keras.backend.backend() == "jax"
for command in sys.argv[1:]:
    module, *arguments = command.split()
    assert {"predict": predict, "evaluate": evaluate}[module].main(arguments) == 0
"""


@pytest.mark.skipif(ON_JAX, reason="this test starts the run on JAX")
def test_photos_are_segmented_and_measured_alike_under_jax_where_there_is_no_tensorflow(tmp_path, monkeypatch):
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "photos")
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    keras.Model(image, net(image, 2), name="tiny").save("net.keras")
    segment, measure = "net.keras photos/images --effect mask -o", "net.keras --data-dir photos --split all --json"
    assert predict.main([*segment.split(), "here"]) == 0
    assert evaluate.main([*measure.split(), "here.json"]) == 0
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, f"predict {segment} there", f"evaluate {measure} there.json"],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    here, there = (json.loads(Path(name).read_text()) for name in ("here.json", "there.json"))
    assert there["foreground_iou"] == pytest.approx(here["foreground_iou"], abs=1e-3)
    for path in sorted(Path("here").iterdir()):
        masks = (data.read_image(folder / path.name).astype(int) for folder in (Path("here"), Path("there")))
        assert np.abs(np.subtract(*masks)).max() <= 2
