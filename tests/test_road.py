"""The whole road as a user types it: train on drawings for a moment, evaluate, convert, verify, inspect, predict."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_models.data import drawings

ROOT = Path(__file__).parents[1]


def command(*arguments, cwd, status=0):
    """What a command printed, after it ended with `status`."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of one's own, with a short run in `run` and its int8 model `small.tflite`."""
    place = tmp_path_factory.mktemp("road")
    shorter = ["--input-size", "64", "--epochs", "2"]
    out = command("-m", "keras_models.train", "extremec3", "--output", "run", *shorter, cwd=place)
    assert "built-in drawings" in out
    out = command(ROOT / "tflite/convert.py", "run", "--quantize", "int8", "-o", "small.tflite", cwd=place)
    assert "small.tflite" in out
    return place


def test_evaluate_says_how_good_it_is(place):
    command("-m", "keras_models.evaluate", "run", "--json", "float.json", "--worst", "worst.png", cwd=place)
    command("-m", "keras_models.evaluate", "small.tflite", "--json", "int8.json", cwd=place)
    floating, int8 = (json.loads((place / name).read_text()) for name in ("float.json", "int8.json"))
    assert floating["images"] == 200
    assert floating["foreground_iou"] > 0.6
    assert int8["foreground_iou"] == pytest.approx(floating["foreground_iou"], abs=0.03)
    assert cv2.imread(str(place / "worst.png")) is not None


def test_int8_model_is_clean(place):
    command("-m", "tflite.inspect", "small.tflite", "--json", "inspect.json", cwd=place)
    found = json.loads((place / "inspect.json").read_text())
    assert found["float_ops"] == 0
    assert found["space_to_batch"] == 0
    assert found["total"] == sum(found["ops"].values())
    spec = json.loads((place / "small.json").read_text())
    assert (spec["input"]["height"], spec["input"]["width"]) == (64, 64)
    assert spec["input"]["scale"] == pytest.approx(1 / 255)
    assert spec["input"]["zero_point"] == 0


def test_verify_is_a_gate(place):
    command("-m", "tflite.verify", "small.tflite", "--against", "run", "--limit", "5", cwd=place)
    out = command("-m", "tflite.verify", "small.tflite", "--against", "run", "--limit", "-5", cwd=place, status=1)
    assert "limit" in out


def test_benchmark_writes_its_figures(place):
    command("-m", "tflite.benchmark", "small.tflite", "--threads", "1,2", "--json", "speed.json", cwd=place)
    runs = json.loads((place / "speed.json").read_text())["runs"]
    assert [run["threads"] for run in runs] == [1, 2]
    assert all(0 < run["median_ms"] <= run["p90_ms"] for run in runs)


@pytest.mark.parametrize("effect", ["mask", "overlay", "blur", "color", "image"])
def test_predict_keeps_the_size_of_a_photo(place, effect):
    image, labels = drawings.draw(1005)
    cv2.imwrite(str(place / "photo.jpg"), image[..., ::-1])
    background = ["--image", "photo.jpg"] if effect == "image" else []
    out = f"{effect}.png"
    command(
        "-m", "keras_models.predict", "small.tflite", "photo.jpg", "--effect", effect, *background, "-o", out, cwd=place
    )
    result = cv2.imread(str(place / out), cv2.IMREAD_UNCHANGED)
    assert result.shape[:2] == image.shape[:2]
    if effect == "mask":
        assert result.ndim == 2
        assert np.mean((result > 127) == (labels > 0)) > 0.75


def test_predict_takes_a_folder_and_a_video(place):
    (place / "album").mkdir()
    writer = cv2.VideoWriter(str(place / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (240, 320))
    for i in range(3):
        cv2.imwrite(str(place / "album" / f"{i}.jpg"), drawings.draw(i)[0])
        writer.write(drawings.draw(i)[0])
    writer.release()
    (place / "album" / "broken.jpg").write_bytes(b"no photo")
    out = command("-m", "keras_models.predict", "run", "album", "-o", "shown", cwd=place, status=2)
    assert "broken.jpg is no readable image" in out
    assert sorted(path.name for path in (place / "shown").iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    command("-m", "keras_models.predict", "run", "clip.mp4", "--effect", "blur", "-o", "shown.mp4", cwd=place)
    shown = cv2.VideoCapture(str(place / "shown.mp4"))
    assert (shown.get(cv2.CAP_PROP_FRAME_COUNT), shown.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (3, 320)


MISTAKES = {
    "no such model": (["-m", "keras_models.evaluate", "nothing"], "There is no model 'nothing'"),
    "damaged model": (["-m", "keras_models.evaluate", "damaged.keras"], "damaged.keras is no .keras file"),
    "no such photo": (["-m", "keras_models.predict", "run", "nothing.jpg"], "There is no file or folder nothing.jpg"),
    "damaged video": (["-m", "keras_models.predict", "run", "damaged.mp4"], "damaged.mp4 gives no picture"),
    "no background": (["-m", "keras_models.predict", "run", "run", "--effect", "image"], "needs --image"),
    "damaged tflite": (["-m", "tflite.inspect", "damaged.tflite"], "damaged.tflite"),
    "no calibration photos": ([ROOT / "tflite/convert.py", "run", "--calibration", "none"], "none"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_with_one_line_and_2(place, mistake):
    for name in ("damaged.keras", "damaged.mp4", "damaged.tflite"):
        (place / name).write_bytes(b"damaged")
    arguments, message = MISTAKES[mistake]
    assert message in command(*arguments, cwd=place, status=2)
