"""What training would draw, as one picture."""

import shutil

import cv2
import numpy as np
import pytest

from keras_models.command import UserError
from keras_models.data import augment, preview
from keras_models.networks.pocketnet import SCENES
from tests.test_data import make_folder


def test_preview_shows_each_photo_and_its_draws(tmp_path, capsys):
    file = tmp_path / "preview.png"
    assert preview.main(["--dataset", "drawings", "--photos", "2", "--draws", "3", "-o", str(file)]) == 0
    shown = cv2.imread(str(file))
    assert shown.shape == (2 * 224, 4 * 224, 3)
    assert (shown[:, :224] != shown[:, 224:448]).mean() > 0.5
    assert "2 photos" in capsys.readouterr().out


def test_each_change_is_shown_alone(tmp_path, capsys):
    file = tmp_path / "each.png"
    arguments = ["--dataset", "drawings", "--each", "--draws", "2", "--network", "pocketnet_m", "-o", str(file)]
    assert preview.main(arguments) == 0
    assert cv2.imread(str(file)).shape == (len(augment.KINDS) * (224 + 20), 3 * 224, 3)
    assert "each change alone" in capsys.readouterr().out


def test_people_on_another_background_are_shown_where_a_mix_has_backgrounds(tmp_path):
    make_folder(tmp_path / "people", 6)
    make_folder(tmp_path / "empty", 2)
    sets = ('dataset = "folder"\ndata_dir = "people"', 'dataset = "background"\ndata_dir = "empty"\nweight = 0.0001')
    (tmp_path / "mix.toml").write_text("".join(f"[[set]]\n{text}\n" for text in sets))
    file = tmp_path / "each.png"
    arguments = [str(tmp_path / "mix.toml"), "--dataset", "mix", "--each", "--draws", "2", "--photos", "1"]
    assert preview.main([*arguments, "-o", str(file)]) == 0
    shown = cv2.imread(str(file))
    assert shown.shape[0] == (len(augment.KINDS) + 1) * (224 + 20)
    tiles = np.split(shown[-244:-20], 3, axis=1)
    assert (tiles[0] != tiles[1]).any()


def test_a_change_alone_changes_nothing_else():
    default = augment.Augmentation()
    assert default.only("shadow") is None
    assert default.only("people pasted") is None
    texture, deformation = default.only("texture"), default.only("deformation")
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    labels = (image[..., 0] > 128).astype(np.uint8)
    for seed in range(4):
        changed, moved = texture(image, labels, (64, 64), np.random.default_rng(seed))
        assert (moved == labels).all()
        assert (changed != image).mean() > 0.5
        rng = np.random.default_rng(seed)
        assert (deformation.recolour(image, rng) == image).all()
    assert (SCENES.only("JPEG").warp(image, labels, (64, 64), np.random.default_rng(0))[0] == image).all()


def test_photos_without_masks_are_told_how_to_get_some(tmp_path, monkeypatch):
    make_folder(tmp_path, 3)
    shutil.rmtree(tmp_path / "masks")
    monkeypatch.setattr(preview.command, "load_keras", lambda: pytest.fail("the folder is looked at first"))
    with pytest.raises(UserError, match=r"no folder .*masks.*\.data label"):
        preview.main([str(tmp_path)])
    with pytest.raises(UserError, match="no folder nowhere"):
        preview.main(["nowhere"])
