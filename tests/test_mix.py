"""Several datasets as one, people pasted from photo to photo, and what light and camera do."""

import cv2
import numpy as np
import pytest

from keras_models import data
from keras_models.command import UserError
from keras_models.data import compose, light, mix, pack, pipeline


def _photos(root, count, grey, masks=True):
    (root / "images").mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(root / "images" / f"p{i:02d}.png"), np.full((40, 40, 3), grey, np.uint8))
        if masks:
            (root / "masks").mkdir(exist_ok=True)
            mask = np.zeros((40, 40), np.uint8)
            mask[10:30, 10:30] = 255
            cv2.imwrite(str(root / "masks" / f"p{i:02d}.png"), mask)


@pytest.fixture
def mixed(tmp_path):
    _photos(tmp_path / "dark", 30, 40)
    _photos(tmp_path / "light", 10, 200)
    _photos(tmp_path / "empty", 5, 120, masks=False)
    (tmp_path / "dark" / "train.txt").write_text("\n".join(f"p{i:02d}" for i in range(30)))
    (tmp_path / "light" / "train.txt").write_text("\n".join(f"p{i:02d}" for i in range(8)))
    (tmp_path / "light" / "val.txt").write_text("p08\np09")
    path = tmp_path / "mix.toml"
    path.write_text(
        '[[set]]\ndataset = "folder"\ndata_dir = "dark"\nholdout = 0.3\n'
        '[[set]]\ndataset = "folder"\ndata_dir = "light"\nweight = 6\nval = "val"\n'
        '[[set]]\ndataset = "background"\ndata_dir = "empty"\nweight = 3\n'
    )
    return path


def test_a_mix_holds_every_photo_of_its_sets_in_one_split_only(mixed):
    train, val = (data.load("mix", mixed, split) for split in ("train", "val"))
    held = [name for name in val.names if not {name} & {"folder/p08", "folder/p09"}]
    assert len(train) + len(val) == 30 + 10 + 5
    assert 2 <= len(held) <= 16, "about three in ten of the dark photos are kept out"
    shown = {int(train.load(i)[0].mean()) for i in range(len(train))}
    assert shown == {40, 200, 120}
    assert not any(train.load(i)[1].any() for i, name in enumerate(train.names) if name.startswith("background/"))


def test_a_holdout_does_not_move_when_a_photo_goes(mixed):
    before = set(data.load("mix", mixed, "val").names)
    listed = mixed.parent / "dark" / "train.txt"
    gone = sorted(name.partition("/")[2] for name in data.load("mix", mixed, "train").names[:3])
    listed.write_text("\n".join(line for line in listed.read_text().splitlines() if line not in gone))
    assert set(data.load("mix", mixed, "val").names) == before


def test_a_holdout_keeps_bursts_and_crops_of_a_photo_together(mixed):
    for kind in ("images", "masks"):
        for i, path in enumerate(sorted((mixed.parent / "dark" / kind).iterdir())):
            photo, place = divmod(i, 3)
            path.rename(path.with_name(f"IMG_{photo:04d}{('', '_2', '_x1.5')[place]}.png"))
    names = {path.stem for path in (mixed.parent / "dark" / "images").iterdir()}
    (mixed.parent / "dark" / "train.txt").write_text("\n".join(sorted(names)))
    found = {split: {n for n in data.load("mix", mixed, split).names if "IMG" in n} for split in ("train", "val")}
    photos = {split: {name[: len("folder/IMG_0000")] for name in names} for split, names in found.items()}
    assert photos["train"] and photos["val"] and not photos["train"] & photos["val"]


def test_photos_without_masks_join_sets_of_any_classes(mixed):
    for each in ("dark", "light"):
        (mixed.parent / each / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(UserError, match="first class is sky; leave the background photos out"):
        data.load("mix", mixed, "train")
    mixed.write_text(mixed.read_text().replace('"background"', '"photos"'))
    assert data.load("mix", mixed, "train").class_names == ("sky", "road")


def test_a_packed_mix_is_drawn_by_the_same_shares(mixed, tmp_path):
    packed = tmp_path / "packed"
    assert pack.main([str(mixed), "--dataset", "mix", "--side", "32", "-o", str(packed)]) == 0
    for split in ("train", "val"):
        assert data.load("packed", packed, split).shares == data.load("mix", mixed, split).shares
    mixed.write_text(mixed.read_text().replace('val = "val"', 'val = "valley"'))
    with pytest.raises(UserError, match="Unknown split"):  # not a pack without it
        pack.main([str(mixed), "--dataset", "mix", "-o", str(tmp_path / "another")])


def test_an_epoch_draws_each_set_by_its_weight(mixed):
    samples = pipeline.cache(data.load("mix", mixed, "train"), (32, 32))
    still = data.Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, flip=False, probability=0)
    batches = pipeline.training_batches(samples, (32, 32), (32, 32), 16, still, seed=1)
    greys = np.concatenate([np.asarray(images)[:, 0, 0, 0] for images, _ in batches.take(60)])
    shares = [np.mean(greys == grey) for grey in (40, 200, 120)]
    np.testing.assert_allclose(shares, [0.1, 0.6, 0.3], atol=0.05)


def test_photos_without_masks_are_void_and_the_mix_says_so(mixed):
    mixed.write_text(mixed.read_text().replace('"background"', '"photos"'))
    train = data.load("mix", mixed, "train")
    bare = [i for i, name in enumerate(train.names) if name.startswith("photos/")]
    assert len(bare) == 5
    assert all((train.load(i)[1] == 255).all() for i in bare)
    assert "5 photos have no masks" in train.note


def test_some_photos_of_a_mix_can_be_drawn_alone(mixed):
    """Their shares add up to 1 again: numpy draws by no others."""
    whole = data.load("mix", mixed, "train")
    some = whole.subset(range(5), "some")
    assert sum(some.shares) == pytest.approx(1)
    assert some.shares[0] == pytest.approx(whole.shares[0] / sum(whole.shares[:5]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[set]\n", "no list of datasets"),
        ("", "[[set]]"),
        ('[[set]]\ndataset = "eg1799"\n', "unknown dataset"),
        ('[[set]]\ndataset = "folder"\nwieght = 1\n', "known keys"),
        ('[[set]]\ndataset = "folder"\nweight = nan\n', "weight"),
        ('[[set]]\ndataset = "folder"\nholdout = 1.5\n', "holdout"),
        ('[[set]]\ndataset = "folder"\nholdout = 0.1\nval = "val"\n', "not both"),
        ('[[set]]\ndataset = "folder"\ndata_dir = "nowhere"\n', "nowhere"),
    ],
)
def test_a_mix_that_cannot_be_read_says_where(tmp_path, text, said):
    path = tmp_path / "mix.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mix\.toml|nowhere") as error:
        mix.load(path, "train")
    assert said in str(error.value)


def test_pasted_people_cover_and_are_labelled():
    image, other = (np.full((32, 32, 3), grey, np.uint8) for grey in (50, 250))
    labels, other_labels = np.zeros((2, 32, 32), np.uint8)
    labels[:, :8], other_labels[8:24, 8:24] = 1, 1
    found, found_labels = compose.paste(image, labels, other, other_labels, softness=0.8)
    assert found[16, 16].tolist() == [250] * 3
    assert found[2, 28].tolist() == [50] * 3
    assert 50 < found[16, 8, 0] < 250, "the edge is soft"
    np.testing.assert_array_equal(found_labels, np.maximum(labels, other_labels))


def test_a_pasted_edge_of_unknown_place_stays_void():
    image = np.zeros((32, 32, 3), np.uint8)
    other_labels = np.zeros((32, 32), np.uint8)
    other_labels[8:24, 8:24], other_labels[10:22, 10:22], other_labels[:2] = 255, 1, 255
    _, found = compose.paste(image, np.zeros((32, 32), np.uint8), image, other_labels, softness=0)
    assert found[9, 9] == 255
    assert not found[0].any(), "void far from what was pasted is not pasted"


def test_scenes_show_more_people_than_the_photos_alone():
    drawings = data.load("drawings", split="train").subset(range(8), "few")
    samples = pipeline.cache(drawings, (48, 48))
    plain = data.Augmentation(scale=(0.4, 0.4), shift=0, rotation_degrees=0, probability=0)
    pasting = data.Augmentation(scale=(0.4, 0.4), shift=0, rotation_degrees=0, probability=0, paste=1.0)
    covered = [
        np.mean([np.asarray(labels).mean() for _, labels in batches.take(4)])
        for batches in (
            pipeline.training_batches(samples, (48, 48), (48, 48), 8, augmentation, seed=0)
            for augmentation in (plain, pasting)
        )
    ]
    assert covered[1] > 1.3 * covered[0]


def test_light_and_camera_change_what_they_say():
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.integers(0, 255, (40, 60, 3), np.uint8), (5, 5), 0)
    assert light.tone(photo, 2.0, 1.0).mean() < photo.mean() < light.tone(photo, 0.5, 1.0).mean()
    warm = light.tone(photo, 1.0, 1.3).astype(int) - photo
    assert warm[..., 0].mean() > 1 > -1 > warm[..., 2].mean()
    np.testing.assert_array_equal(light.tone(photo, 1.0, 1.0), photo)
    shaded = light.shade(photo, 0.3, angle=0.0, place=0.5, width=0.1)
    np.testing.assert_array_equal(shaded[:, 0], photo[:, 0])
    np.testing.assert_allclose(shaded[:, -1], photo[:, -1] * 0.3, atol=1)
    sharp = [np.abs(np.diff(x.astype(int), axis=1)).mean() for x in (photo, light.motion_blur(photo, 7, 0.0))]
    assert sharp[1] < 0.7 * sharp[0]
    assert light.downscale(photo, 0.3).shape == light.jpeg(photo, 30).shape == photo.shape
