"""A small project, and what bad luck does to it: the acts before the commands of `hostile_cases.py`.

An act takes the project's folder; it may return a context manager that lasts while the command runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import scipy.io

from keras_models import train
from keras_models.training import loop, runs
from tests.test_data import SIZE, make_folder, write

SIDE = 32
TRAIN = "keras_models.train tests.misfortunes:net --dataset folder --data-dir photos --input-size 32 --batch-size 4"


def net(image, classes):
    """The smallest network that has all it takes."""
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, padding="same", name="stem")(x))
    return keras.layers.Conv2D(classes, 1, name="head")(keras.layers.ReLU(name="relu")(x))


def make_place(root: Path) -> Path:
    """Photos with masks, a network as `.keras`, `.tflite` and spec, and a run folder stopped in its first epoch."""
    from tflite import convert

    root.mkdir()
    make_folder(root / "photos")
    shutil.copy(root / "photos/images/00.jpg", root / "photo.jpg")
    image = keras.Input((SIDE, SIDE, 3), name="image")
    keras.Model(image, net(image, 2), name="tiny").save(root / "model.keras")
    with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()):
        assert convert.main(["model.keras", "--quantize", "float32", "-o", "net.tflite"]) == 0
        with stopped_in_the_first_epoch(root):
            assert train.main([*TRAIN.split()[1:], "--epochs", "1", "--output", "run"]) == 130
    return root


# -- What happens to the place -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped_in_the_first_epoch(root: Path) -> Iterator[None]:
    """Ctrl-C when the first epoch begins."""
    with _instead(loop.EndOfEpoch, "on_epoch_begin", KeyboardInterrupt()):
        yield


@contextlib.contextmanager
def _instead(owner, name: str, error: BaseException) -> Iterator[None]:
    def fail(*_, **__):
        raise error

    before = getattr(owner, name)
    setattr(owner, name, fail)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def deleted_while_training(root: Path) -> Iterator[None]:
    """The run folder vanishes when the first epoch begins."""
    before = loop.EndOfEpoch.on_epoch_begin

    def delete(self, *arguments):
        shutil.rmtree(root / "new")
        before(self, *arguments)

    loop.EndOfEpoch.on_epoch_begin = delete
    try:
        yield
    finally:
        loop.EndOfEpoch.on_epoch_begin = before


def held(name: str):
    """Another training holds the run folder."""
    return lambda root: runs.locked(root / name)


def half_written(root: Path):
    """What kill -9 left of a checkpoint that was being written; then Ctrl-C."""
    (root / "run/.checkpoint-half.npz").write_bytes(b"PK half")
    return stopped_in_the_first_epoch(root)


def text(name: str, content: str | bytes):
    """A file of that content."""
    return lambda root: (root / name).write_bytes(content.encode() if isinstance(content, str) else content) and None


def both(*acts):
    """One after the other."""

    def act(root: Path):
        for each in acts:
            each(root)

    return act


def gone(name: str):
    """A file is deleted."""
    return lambda root: (root / name).unlink()


def moved(name: str, to: str):
    """A file is renamed."""
    return lambda root: (root / name).rename(root / to) and None


def in_place_of(name: str, make: Callable[[Path], object]):
    """Something else where a file was."""

    def act(root: Path):
        (root / name).unlink()
        make(root / name)

    return act


def photo_of(name: str, value: int):
    """A grey mask or photo of one value."""
    return lambda root: write(root / name, np.full(SIZE, value, np.uint8)) and None


def masks_of(value: int):
    """Every mask holds one value alone."""

    def act(root: Path):
        for path in (root / "photos/masks").iterdir():
            write(path, np.full(SIZE, value, np.uint8))

    return act


def mat_masks(value: float):
    """Every mask is a MATLAB file with that label."""

    def act(root: Path):
        for path in (root / "photos/masks").iterdir():
            labels = np.zeros(SIZE)
            labels[:9] = value
            scipy.io.savemat(path.with_suffix(".mat"), {"labels": labels})
            path.unlink()
        (root / "photos/classes.txt").write_text("a\nb\nc\n")

    return act


def huge_png(side: int) -> bytes:
    """A PNG of a hundred bytes that says it is of side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def keras_file(make: Callable[[], keras.Model], name: str = "odd.keras"):
    """A `.keras` file of another model."""
    return lambda root: make().save(root / name)


def _image(*shape):
    return keras.Input(shape or (SIDE, SIDE, 3))


def classifier():
    x = _image()
    return keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def rank_two():
    x = keras.Input((7,))
    return keras.Model(x, keras.layers.Dense(3)(x))


def four_channels():
    x = _image(SIDE, SIDE, 4)
    return keras.Model(x, keras.layers.Conv2D(2, 1)(x))


def any_size():
    x = _image(None, None, 3)
    return keras.Model(x, keras.layers.Conv2D(2, 1)(x))


def two_inputs():
    x, y = _image(), _image()
    return keras.Model([x, y], keras.layers.Conv2D(2, 1)(x + y))


def two_outputs():
    x = _image()
    return keras.Model(x, [keras.layers.Conv2D(2, 1)(x), keras.layers.Conv2D(3, 1)(x)])


def three_classes():
    x = _image()
    return keras.Model(x, net(x, 3))


def with_code():
    x = _image()
    return keras.Model(x, keras.layers.Lambda(lambda v: v * 2)(x))


def no_numbers():
    x = _image()
    model = keras.Model(x, net(x, 2))
    model.get_layer("head").set_weights([np.full((1, 1, 4, 2), np.nan), np.zeros(2)])
    return model


def zip_bomb(root: Path):
    """A `.keras` of a few kilobytes whose directory says that each part has four gigabytes."""
    content = (root / "model.keras").read_bytes()
    entry = re.compile(rb"(PK\x01\x02.{20})(.{4})", re.DOTALL)
    (root / "odd.keras").write_bytes(entry.sub(lambda found: found[1] + b"\xf0\xff\xff\xff", content))


def asking_for(layer: str, **values):
    """A `.keras` whose config.json asks for other numbers in a layer; its weights are as they were."""

    def act(root: Path):
        with zipfile.ZipFile(root / "model.keras") as old, zipfile.ZipFile(root / "odd.keras", "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    facts = json.loads(content)
                    found = next(each for each in facts["config"]["layers"] if each["config"]["name"] == layer)
                    found["config"] |= values
                    content = json.dumps(facts).encode()
                new.writestr(name, content)

    return act


def archive(root: Path):
    """A `.keras` that is a zip of something else."""
    with zipfile.ZipFile(root / "odd.keras", "w") as file:
        file.writestr("letter.txt", "dear reader")


def cut(name: str, to: str, share: float = 0.5):
    """A copy that ends too early."""
    return lambda root: (root / to).write_bytes((root / name).read_bytes()[: int((root / name).stat().st_size * share)])


def spec(**changes):
    """Other values in the spec; `output__kind` is `kind` in `output`, `...` takes the field away."""

    def act(root: Path):
        facts = json.loads((root / "net.json").read_text())
        for name, value in changes.items():
            *parents, last = name.split("__")
            place = facts
            for parent in parents:
                place = place[parent]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        (root / "net.json").write_text(json.dumps(facts))

    return act


def fuzzed(seed: int):
    """A few bytes of the `.tflite` are others."""

    def act(root: Path):
        generator = np.random.default_rng(seed)
        content = bytearray((root / "net.tflite").read_bytes())
        for at in generator.integers(8, len(content), 12):
            content[at] = generator.integers(256)
        (root / "odd.tflite").write_bytes(content)

    return act
