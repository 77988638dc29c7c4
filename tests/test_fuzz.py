"""Files with a few things changed in them, by a fixed seed: each works as before or is refused by its name.

`FUZZ=N` in the environment tries N times as many.
"""

import contextlib
import copy
import json
import os
import shutil
import warnings

import numpy as np
import PIL.Image
import pytest
import scipy.io

from keras_models import data, models, train
from keras_models.command import UserError
from keras_models.data import images
from keras_models.training import provenance, runs
from tests import misfortunes
from tflite import inspect, metadata, photos, runtime
from tflite.quantize import finetune

TIMES = int(os.environ.get("FUZZ", "1"))
HOSTILE = (None, True, -1, 0, 7, 1e308, float("nan"), "", "x", "²", "x" * 5000, [], [[]], [None] * 300, {}, {"a": 1})
PIECES = (b"", b"\0", b"\xff" * 8, b"\xef\xbb\xbf", b"\n\n", b"../", b"0" * 300, b"\x80", b"\xff\xfe")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return misfortunes.make_place(tmp_path_factory.mktemp("fuzz") / "place")


def changed_bytes(generator, content):
    """`content` with bytes replaced, taken away, put in, or its end missing."""
    content = bytearray(content)
    for _ in range(generator.integers(1, 5)):
        at = int(generator.integers(len(content) + 1))
        match generator.integers(4):
            case 0:
                content[at : at + 1] = bytes([generator.integers(256)])
            case 1:
                content[at : at + int(generator.integers(1, 40))] = b""
            case 2:
                content[at:at] = PIECES[generator.integers(len(PIECES))]
            case 3 if generator.random() < 0.3:
                del content[at:]
    return bytes(content)


def changed_json(generator, content):
    """JSON with one or two of its values replaced by a hostile one or taken away; sometimes its bytes."""
    if generator.random() < 0.2:
        return changed_bytes(generator, content)
    facts = json.loads(content)
    for _ in range(generator.integers(1, 3)):
        place, key = {"": facts}, ""
        while generator.random() < 0.85 and isinstance(place[key], (dict, list)) and place[key]:
            place = place[key]
            key = list(place)[generator.integers(len(place))] if isinstance(place, dict) else len(place) - 1
        if generator.random() < 0.25:
            del place[key]
        else:
            place[key] = copy.deepcopy(HOSTILE[generator.integers(len(HOSTILE))])
        facts = place.get("", facts) if place is not facts and isinstance(place, dict) else facts
    return json.dumps(facts).encode()


def segment(root):
    image = data.read_image(root / "photo.jpg")
    network = models.predictor(root / "net.tflite")
    assert np.isfinite(network.logits(data.prepare_image(image, network.input_size)[None])).all()
    segmenter = runtime.Segmenter(root / "net.tflite")
    assert segmenter.labels(image).shape == image.shape[:2]
    names, colors = segmenter.classes
    assert len(names) == len(colors)


def describe(root):
    inspect.report(inspect.inspect(root / "net.tflite"), every=True)
    metadata.read(root / "net.tflite")


def read_all(root):
    dataset = data.load("folder", root / "photos", "all")
    for image, labels in (dataset.load(i) for i in range(len(dataset))):
        assert image.shape[:2] == labels.shape


def resume(root):
    train.main(["--resume", str(root / "run"), "--print-recipe"])


def look_behind(folder):
    """All that is read of a run.json or card.json beside a model."""
    model = folder / "model.keras"
    names, colors = models.classes_of(model, 1)
    assert len(names) == len(colors) == 2
    finetune.last_stage(model, "extremec3")
    assert all(isinstance(text, str) for text in metadata.origin(folder, "extremec3", None, names).values())
    with contextlib.suppress(UserError):
        photos.labelled(model, None, None, "train")
    provenance.behind(str(folder))


TARGETS = {  # the file, how it is changed, how often, what reads it
    "net.tflite": (changed_bytes, 60, lambda root: (describe(root), segment(root))),
    "net.json": (changed_json, 150, segment),
    "run/run.json": (changed_json, 100, resume),
    "ran/run.json": (changed_json, 100, lambda root: look_behind(root / "ran")),
    "carded/card.json": (changed_json, 100, lambda root: look_behind(root / "carded")),
    "model.keras": (changed_bytes, 15, lambda root: models.load(root / "model.keras")),
    "photos/train.txt": (changed_bytes, 40, read_all),
    "photos/classes.txt": (changed_bytes, 40, read_all),
    "photos/images/03.jpg": (changed_bytes, 60, lambda root: data.read_image(root / "photos/images/03.jpg")),
    "photos/masks/03.png": (changed_bytes, 60, lambda root: images.read_mask(root / "photos/masks/03.png")),
    "palette.png": (changed_bytes, 60, lambda root: images.read_mask(root / "palette.png")),
    "labels.mat": (changed_bytes, 60, lambda root: images.read_mat(root / "labels.mat")),
    "photo.heic": (changed_bytes, 30, lambda root: data.read_image(root / "photo.heic")),
}


def add_others(root):
    """The files that the place lacks."""
    (root / "photos/train.txt").write_text("\n".join(f"{i:02d}" for i in range(6)))
    (root / "photos/val.txt").write_text("07\n08.jpg\n")
    (root / "photos/classes.txt").write_text("background 0 0 0\nperson 0 200 0\n")
    for folder in ("ran", "carded"):
        (root / folder).mkdir()
        shutil.copy(root / "model.keras", root / folder)
    run = json.loads((root / "run/run.json").read_text())
    runs.write_history(root / "ran", [{"loss": 1.0, "val_mean_iou": 0.5, "seconds": 1.0}])
    (root / "ran/run.json").write_text(json.dumps(run))
    card = {
        "name": "carded",
        "licence": "my own",
        "trained_on": "mine",
        "recipe": run["recipe"],
        "classes": run["classes"],
    }
    (root / "carded/card.json").write_text(json.dumps(card))
    labels = np.arange(48 * 40).reshape(48, 40).astype(np.uint8) % 3
    scipy.io.savemat(root / "labels.mat", {"labels": labels}, do_compression=True)
    picture = PIL.Image.fromarray(labels, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(root / "palette.png")
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.from_pillow(PIL.Image.open(root / "photo.jpg")).save(root / "photo.heic")


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_file_works_or_is_refused(name, place, tmp_path, capsys):
    root = tmp_path / "place"
    shutil.copytree(place, root)
    add_others(root)
    if not (root / name).exists():
        pytest.skip("needs pillow-heif: pip install pillow-heif")
    change, count, read = TARGETS[name]
    read(root)  # as it is, it works
    generator, content = np.random.default_rng(list(name.encode())), (root / name).read_bytes()
    worked, odd = 0, {}
    for number in range(count * TIMES):
        (root / name).write_bytes(change(generator, content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(root)
                worked += 1
            except (UserError, runtime.ModelError) as error:
                assert str(error)
            except Exception as error:
                odd[f"{type(error).__name__}: {error}"[:200]] = number
    capsys.readouterr()
    with capsys.disabled():
        print(f"\n  {name}: {count * TIMES} mutations, {worked} worked, {count * TIMES - worked} were refused", end=" ")
    assert not odd
