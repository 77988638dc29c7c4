"""The metadata inside a `.tflite`: it says what the spec says, changes nothing else, and MediaPipe reads it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_models.data import drawings, label, read_image
from tests.shared import SHARED
from tests.small import photos
from tflite import convert, metadata, runtime

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "keras_models" / "presets" / "extremec3-eg1800" / "extremec3-eg1800-int8.tflite"
VENV = ROOT / "build" / "mediapipe"
PACKAGES = ["mediapipe==1.2.2"]

# The models are given with an image each; confidence masks and category mask of each are written beside the model.
SCRIPT = """
import json, sys
import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

for model, image in zip(sys.argv[1::2], sys.argv[2::2]):
    options = vision.ImageSegmenterOptions(
        BaseOptions(model_asset_path=model), output_category_mask=True, output_confidence_masks=True
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        photo = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.load(image))
        result = segmenter.segment(photo)
        masks = np.stack([np.squeeze(mask.numpy_view()) for mask in result.confidence_masks], -1)
        category = np.squeeze(result.category_mask.numpy_view())
        np.savez(model + ".npz", masks=masks, category=category, labels=np.array(segmenter.labels))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with small networks of one and of three classes, each as float32 and as int8 with uint8 in and out."""
    place = tmp_path_factory.mktemp("metadata")
    for i, image in enumerate(photos(3, (48, 48))):
        cv2.imwrite(str(place / f"{i}.png"), image)
    for name, classes in (("person", 1), ("parts", 3)):
        image = keras.Input((32, 48, 3))
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 128, -1)(image))
        strong = keras.initializers.RandomNormal(0, 0.4, seed=1)
        x = keras.layers.Conv2D(classes, 3, padding="same", kernel_initializer=strong)(x)
        keras.Model(image, x, name=name).save(place / f"{name}.keras")
        for mode in ("float32", "int8"):
            arguments = [str(place / f"{name}.keras"), "--quantize", mode, "-o", str(place / f"{name}-{mode}.tflite")]
            assert convert.main([*arguments, *(["--calibration", str(place)] if mode == "int8" else [])]) == 0
    return place


@pytest.mark.parametrize("name", ["person-int8", "parts-float32"])
def test_the_file_says_what_its_spec_says(place, name):
    found, spec = metadata.read(place / f"{name}.tflite"), runtime.read_spec(place / f"{name}.tflite")
    assert (found["name"], found["description"], found["license"], found["author"]) == (
        spec["name"], spec["description"], spec["licence"], spec["author"],
    )  # fmt: skip
    assert spec["weights_sha256"].startswith(found["version"])
    (graph,) = found["subgraph_metadata"]
    (unit,) = graph["input_tensor_metadata"][0]["process_units"]
    assert unit["options"]["NormalizationOptions"] == {"mean": [0.0], "std": [255.0]}
    assert graph["custom_metadata"] == [{"name": "SEGMENTER_METADATA", "activation": spec["output"]["activation"]}]
    (labels,) = graph["output_tensor_metadata"][0]["associated_files"]
    expected = ["person"] if name == "person-int8" else spec["labels"]
    assert found["files"] == {labels["name"]: "\n".join(expected) + "\n"}


def test_the_model_itself_stays_byte_for_byte_and_aligned():
    """A packer that writes the model anew loses the weights' alignment."""
    spec = json.loads(PRESET.with_suffix(".json").read_text())
    content = plain(PRESET.read_bytes())
    sealed = metadata.add(content, spec)
    assert sealed.find(content) % metadata.ALIGNMENT == 0
    assert sealed == metadata.add(content, spec) == PRESET.read_bytes()
    model = metadata.schema.Model.GetRootAs(sealed)
    before = metadata.schema.Model.GetRootAs(content)
    assert model.BuffersLength() == before.BuffersLength() + 1
    names = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
    assert names == [before.Metadata(i).Name() for i in range(before.MetadataLength())] + [metadata.NAME.encode()]
    with pytest.raises(ValueError, match="already"):
        metadata.add(sealed, spec)


def plain(content: bytes) -> bytes:
    """The model that metadata was added to: the new root stands before it, padding and a zip archive behind it."""
    start = content.index(b"TFL3", 8) - 4
    return content[start : content.rindex(b"PK\x03\x04")]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "Cannot read"), (b"PNG, no model at all", "no TFLite model"), ("cut", "damaged")],
)
def test_a_file_that_cannot_be_read_is_named(place, tmp_path, content, message):
    path = tmp_path / "broken.tflite"
    if content is not None:
        path.write_bytes((place / "person-int8.tflite").read_bytes()[:900] if content == "cut" else content)
    with pytest.raises(runtime.ModelError, match=message) as error:
        metadata.read(path)
    assert "broken.tflite" in str(error.value)


def test_the_command_prints_it(place, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["metadata", str(place / "parts-int8.tflite")])
    assert metadata.main() == 0
    assert json.loads(capsys.readouterr().out)["name"] == "parts-int8"


def mediapipe_python() -> Path:
    """The interpreter of an environment with MediaPipe, made once and kept in `build/`; skips when pip has none."""
    ready, python = VENV / "ready", VENV / "bin" / "python"
    if not ready.is_file() or ready.read_text() != "\n".join(PACKAGES):
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=300)
        command = [python, "-m", "pip", "install", "-q", "--retries", "1", "--timeout", "20", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot install {PACKAGES[0]}: {done.stderr.strip().splitlines()[-1]}")
        ready.write_text("\n".join(PACKAGES))
    return python


def as_mediapipe_resizes(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel x of `size` (height, width) is taken at x * scale, where OpenCV has (x + 0.5) * scale - 0.5."""
    scale = np.diag(np.divide(image.shape[1::-1], size[::-1])).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, np.c_[scale, np.zeros(2)], size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def test_mediapipe_opens_the_files_and_gives_our_masks(place):
    python = mediapipe_python()
    shutil.copy(PRESET, place)
    shutil.copy(PRESET.with_suffix(".json"), place)
    eg1800 = SHARED / "data" / "eg1800" / "images" / "00568.jpg"
    photo = read_image(eg1800) if eg1800.is_file() else drawings.draw(44)[0]
    models = {place / f"{name}.tflite": (32, 48) for name in ("person-float32", "person-int8", "parts-int8")}
    models |= {place / "parts-float32.tflite": (32, 48), place / PRESET.name: photo.shape[:2]}
    arguments, images = [], {}
    for model, (height, width) in models.items():
        images[model] = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        np.save(model.with_suffix(".npy"), images[model])
        arguments += [model, model.with_suffix(".npy")]
    done = subprocess.run([python, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for model, image in images.items():
        found, segmenter = np.load(f"{model}.npz"), runtime.Segmenter(model)
        channels = segmenter.spec["output"]["classes"]
        assert found["labels"].tolist() == segmenter.spec["labels"][-channels:]
        expected = segmenter.probabilities(as_mediapipe_resizes(image, segmenter.input_size))
        expected = cv2.resize(expected, image.shape[1::-1]).reshape(*image.shape[:2], -1)[..., -channels:]
        masks = found["masks"]
        assert expected.std() > 0.05  # something is there to compare
        assert np.abs(masks - expected).max() < 1e-4
        # One channel: 0, its label, where the person is, 255 elsewhere. Several: the most probable one's number.
        labels = np.where(masks[..., 0] > 0.5, 0, 255) if channels == 1 else masks.argmax(-1)
        assert np.mean(found["category"] == labels) > 0.99  # resized after the choice


def test_mediapipe_draws_masks_for_data_label(place):
    """MediaPipe is appended to this environment's path, so that its OpenCV stays out of the way of ours."""
    packages = next((mediapipe_python().parents[1] / "lib").glob("python*/site-packages"))
    script = (
        "import sys; sys.path.append(sys.argv[1]); from keras_models.data import label; import numpy as np; "
        "each = label.labeller(f'mediapipe:{sys.argv[2]}'); "
        "np.save(sys.argv[3], label.average(np.load(sys.argv[4]), each, (1.0,), True)); print(each.licence); "
        "each.close()"
    )
    photo = cv2.resize(drawings.draw(44)[0], (256, 256), interpolation=cv2.INTER_AREA)
    np.save(place / "photo.npy", photo)
    arguments = [packages, PRESET, place / "labelled.npy", place / "photo.npy"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Apache-2.0" in done.stdout
    found = np.load(place / "labelled.npy")
    expected = label.average(photo, label.labeller(str(PRESET)), (1.0,), True)
    assert found.shape == expected.shape == (256, 256, 2)
    assert expected[..., 1].std() > 0.2
    assert np.mean((found[..., 1] > 0.5) == (expected[..., 1] > 0.5)) > 0.97  # half a pixel apart
