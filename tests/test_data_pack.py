"""`data pack`: what is written is read again, by the project and by numpy and Pillow alone."""

import importlib.util
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from keras_models import data
from keras_models.command import UserError
from keras_models.data import Augmentation, pack, packed, pipeline
from tests.test_data import SIZE, make_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`photos`, and the same packed into several small files."""
    root = tmp_path_factory.mktemp("pack")
    make_folder(root / "photos", 20)
    (root / "photos" / "LICENSE").write_text("mine")
    assert pack.main([str(root / "photos"), "--side", "32", "--shard-mb", "0.02", "-o", str(root / "packed")]) == 0
    return root


def test_what_is_packed_is_read_again(place):
    for split in ("train", "val", "test"):
        plain, again = data.load("folder", place / "photos", split), data.load("packed", place / "packed", split)
        assert again.names == plain.names
        assert again.class_names == plain.class_names
        for i in range(len(plain)):
            image, labels = again.load(i)
            size = (round(SIZE[0] * 32 / SIZE[1]), 32)
            assert image.shape == (*size, 3)
            np.testing.assert_array_equal(labels, data.prepare_mask(plain.load(i)[1], size))
            assert np.abs(image.astype(int) - data.prepare_image(plain.load(i)[0], size)).mean() < 12
    assert (place / "packed" / "LICENSE").read_text() == "mine"
    shards = sorted((place / "packed").glob("train-*.tar"))
    assert len(shards) > 1
    with tarfile.open(shards[0]) as tar:
        assert tar.getnames()[:2] == ["train-0000000.jpg", "train-0000000.png"]


def test_training_from_a_packed_set_repeats_and_goes_on(place):
    def batches(first_epoch, count):
        samples = pipeline.cache(data.load("packed", place / "packed", "train"), (16, 16), limit=0)
        found = pipeline.training_batches(
            samples, (16, 16), (16, 16), 8, Augmentation(), seed=3, first_epoch=first_epoch
        )
        return [np.asarray(images) for _, (images, _) in zip(range(count), found, strict=False)]

    whole = batches(0, 4)  # two batches an epoch
    for image, again in zip(whole[2:], batches(1, 2), strict=True):
        np.testing.assert_array_equal(image, again)


def test_a_packed_set_is_read_with_numpy_and_pillow_alone(place):
    reader = Path(packed.__file__)
    program = (
        "import sys, importlib.util as u\n"
        "for name in ('cv2', 'tensorflow', 'keras', 'keras_models'): sys.modules[name] = None\n"
        f"spec = u.spec_from_file_location('packed', {str(reader)!r}); m = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(m)\n"
        f"p = m.Packed({str(place / 'packed')!r}, 'train'); print(len(p), p[3][0].shape, p[3][1].max())\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["16", "(38,", "32,", "3)", "1"]
    assert importlib.util.find_spec("PIL")


def test_mistakes_are_named(place, tmp_path):
    with pytest.raises(UserError, match="is there already"):
        pack.main([str(place / "photos"), "-o", str(place / "packed")])
    with pytest.raises(UserError, match=r"--side is 16 to 10000\. Received: 3"):
        pack.main([str(place / "photos"), "--side", "3", "-o", str(tmp_path / "x")])
    with pytest.raises(UserError, match="is no packed dataset"):
        data.load("packed", tmp_path, "train")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (place / "packed").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    facts = json.loads((broken / "pack.json").read_text())
    facts["splits"]["train"][0]["place"][1][0] += 40
    (broken / "pack.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="00 of the packed dataset is damaged"):
        data.load("packed", broken, "train").load(0)
