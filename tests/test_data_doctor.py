"""`data check`: a set with one defect of each kind, of which none is missed, and a sound one without alarm."""

import json

import cv2
import numpy as np
import PIL.Image
import pytest

from keras_models import data
from keras_models.data import check, doctor, drawings, listing, mend

SIZE = (160, 120)


def sound(root, count=40):
    """Drawn portraits in the layout `folder`, with lists."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for i in range(count):
        image, labels = drawings.draw(i)
        save(root / f"images/{i:02d}.jpg", data.prepare_image(image, SIZE))
        save(root / f"masks/{i:02d}.png", data.prepare_mask(labels, SIZE) * 255)
    for split, names in listing.divide([f"{i:02d}" for i in range(count)]).items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def save(path, values, **options):
    PIL.Image.fromarray(values).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}), **options)


def load(path):
    return np.asarray(PIL.Image.open(path))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def palette(path):
    picture = PIL.Image.fromarray(load(path) // 255)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path)


def sensor(root):
    """A photo stored lying, turned upright by EXIF, whose mask lies."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    save(root / "images/08.jpg", np.rot90(load(root / "images/08.jpg")).copy(), exif=exif)
    save(root / "masks/08.png", np.rot90(load(root / "masks/08.png")).copy())


def shifted(path):
    moved = np.zeros(SIZE, np.uint8)
    moved[:-16, 14:] = load(path)[16:, :-14]
    save(path, moved)


def cmyk(path):
    PIL.Image.open(path).convert("CMYK").save(path, quality=95)


def again(root, name, new, split, brighter=0):
    """The photo `name` once more as `new`, in the list of `split`, somewhat brighter and compressed."""
    image = np.clip(load(root / f"images/{name}.jpg").astype(int) + brighter, 0, 255).astype(np.uint8)
    PIL.Image.fromarray(image).save(root / f"images/{new}.jpg", quality=80)
    save(root / f"masks/{new}.png", load(root / f"masks/{name}.png"))
    add(root, split, new)


def add(root, split, line):
    with (root / f"{split}.txt").open("a") as file:
        file.write(f"{line}\n")


def grey(path):
    mask = load(path).copy()
    mask[:40] = 128
    save(path, mask)


def border():
    mask = np.zeros(SIZE, np.uint8)
    mask[:2] = 255
    return mask


DEFECTS = {
    "list-repeats": lambda root: add(root, "train", "00"),
    "list-overlap": lambda root: add(root, "val", "03"),
    "listed-absent": lambda root: add(root, "train", "nobody"),
    "same-stem": lambda root: save(root / "images/04.png", load(root / "images/04.jpg")),
    "unreadable-photo": lambda root: (root / "images/05.jpg").write_bytes(b"no photo"),
    "truncated-photo": lambda root: truncate(root / "images/06.jpg"),
    "unreadable-mask": lambda root: truncate(root / "masks/07.png"),
    "exif-rotation": sensor,
    "mask-size": lambda root: save(root / "masks/09.png", cv2.resize(load(root / "masks/09.png"), (60, 80))),
    "mask-suffix": lambda root: (
        save(root / "masks/10.jpg", load(root / "masks/10.png")) or (root / "masks/10.png").unlink()
    ),
    "palette-mask": lambda root: palette(root / "masks/13.png"),
    "three-channel-mask": lambda root: save(root / "masks/14.png", load(root / "masks/14.png")[..., None].repeat(3, 2)),
    "deep-mask": lambda root: cv2.imwrite(
        str(root / "masks/15.png"), load(root / "masks/15.png").astype(np.uint16) * 257
    ),
    "zero-one-mask": lambda root: save(root / "masks/16.png", load(root / "masks/16.png") // 255),
    "maybe-void-mask": lambda root: save(root / "masks/32.png", np.minimum(load(root / "masks/32.png"), 1) | border()),
    "inverted-mask": lambda root: save(root / "masks/17.png", 255 - load(root / "masks/17.png")),
    "shifted-mask": lambda root: shifted(root / "masks/18.png"),
    "duplicate-across": lambda root: again(root, "19", "x19", "test"),
    "similar-across": lambda root: again(root, "20", "x20", "test", brighter=9),
    "duplicate": lambda root: again(root, "23", "x23", "train"),
    "similar": lambda root: again(root, "24", "x24", "train", brighter=9),
    "empty-mask": lambda root: save(root / "masks/25.png", np.zeros(SIZE, np.uint8)),
    "full-mask": lambda root: save(root / "masks/26.png", np.full(SIZE, 255, np.uint8)),
    "grey-mask": lambda root: grey(root / "masks/27.png"),
    "grey-photo": lambda root: PIL.Image.open(root / "images/28.jpg").convert("L").save(root / "images/28.jpg"),
    "cmyk-photo": lambda root: cmyk(root / "images/29.jpg"),
    "small-photo": lambda root: [
        save(root / path, cv2.resize(load(root / path), (60, 80))) for path in ("images/30.jpg", "masks/30.png")
    ],
    "odd-shape": lambda root: [
        save(root / path, load(root / path)[:, :39]) for path in ("images/33.jpg", "masks/33.png")
    ],
    "no-photo": lambda root: save(root / "masks/nobody2.png", np.zeros(SIZE, np.uint8)),
    "unlisted": lambda root: save(root / "images/more.jpg", drawings.draw(900)[0]),
    "other-file": lambda root: (root / "images/film.gif").write_bytes(b"GIF89a"),
}
ALONE = {  # defects of a whole set, or that hide others
    "no-mask": lambda root: [(root / "masks/03.png").unlink(), *((root / f"{s}.txt").unlink() for s in listing.SPLITS)],
    "list-unreadable": lambda root: (root / "val.txt").write_bytes("\xe9".encode("latin-1")),
    "too-few": lambda root: (root / "val.txt").write_text("\n"),
    "odd-labels": lambda root: [
        (root / "classes.txt").write_text("a\nb\nc\n"),
        *(save(path, load(path) // 255 * (7 if path.stem == "03" else 2)) for path in (root / "masks").iterdir()),
    ],
    "void-mask": lambda root: [
        (root / "classes.txt").write_text("a\nb\nc\n"),
        *(
            save(p, load(p) // 255 if p.stem != "03" else np.full(SIZE, 255, np.uint8))
            for p in (root / "masks").iterdir()
        ),
    ],
    "absent-class": lambda root: [
        (root / "classes.txt").write_text("a\nb\nc\n"),
        *(save(path, load(path) // 255) for path in (root / "masks").iterdir()),
    ],
    "no-foreground": lambda root: [save(path, np.zeros(SIZE, np.uint8)) for path in (root / "masks").iterdir()],
    "shifted-set": lambda root: [shifted(path) for path in (root / "masks").iterdir()],
}


def checked(root, *options):
    """The problems that the command writes, by kind, and its exit status."""
    status = check.main([str(root), "--json", str(root / "found.json"), *options])
    return {each["kind"]: each for each in json.loads((root / "found.json").read_text())["problems"]}, status


def test_a_sound_set_raises_no_alarm(tmp_path, capsys):
    assert checked(sound(tmp_path)) == ({}, 0)
    assert "All is well" in capsys.readouterr().out


def test_no_defect_is_missed(tmp_path, capsys):
    root = sound(tmp_path / "photos")
    for act in DEFECTS.values():
        act(root)
    page = tmp_path / "page.html"
    found, status = checked(root, "--html", str(page), "--fix", str(tmp_path / "mended"))
    assert status == 1
    assert set(DEFECTS) - set(found) == set()
    assert set(found) - set(DEFECTS) == set()
    for kind, problem in found.items():
        assert problem["severity"] == doctor.KINDS[kind][0]
        assert problem["remedy"]
        assert kind in page.read_text()
    names = {kind: [file.rsplit("/", 1)[-1][:2] for file in found[kind]["files"]] for kind in found}
    assert names["truncated-photo"] == ["06"]
    assert names["inverted-mask"] == ["17"]
    assert names["shifted-mask"] == ["18"]
    assert "data:image/jpeg" in page.read_text()
    # The mended copy is as it should be, and no photo of the test split was lost to a copy in train.
    again_found, status = checked(tmp_path / "mended")
    assert status == 0, again_found
    assert set(again_found) <= {
        "empty-mask",
        "full-mask",
        "grey-mask",
        "grey-photo",
        "small-photo",
        "odd-shape",
        "similar",
    }
    whole = data.load("folder", tmp_path / "mended", "all")
    assert {"05", "06", "07", "18", "32"} & set(whole.names) == set()
    for name in ("08", "09", "10", "13", "14", "15", "16", "17"):
        labels = whole.load(whole.names.index(name))[1]
        truth = data.prepare_mask(drawings.draw(int(name))[1], SIZE)
        assert (labels == truth).mean() > 0.97, name
    assert "mended: inverted-mask" in capsys.readouterr().out


def test_the_mended_copy_of_a_published_set_has_its_labels(tmp_path):
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            image, labels = drawings.draw(10 * count + i)
            for kind in ("images", "labels"):
                (tmp_path / "set" / split / kind).mkdir(parents=True, exist_ok=True)
            save(tmp_path / "set" / split / "images" / f"{split}{i}.png", image)
            save(tmp_path / "set" / split / "labels" / f"{split}{i}.png", np.where(labels == 1, 9, 11).astype(np.uint8))
    check.main([str(tmp_path / "set"), "--dataset", "camvid", "--fix", str(tmp_path / "mended")])
    for split in ("train", "val"):
        before, after = data.load("camvid", tmp_path / "set", split), data.load("folder", tmp_path / "mended", split)
        assert (after.names, after.class_names) == (before.names, before.class_names)
        for i in range(len(before)):
            np.testing.assert_array_equal(after.load(i)[1], before.load(i)[1])
            assert set(np.unique(after.load(i)[1])) == {9, 255}


def test_the_mended_copy_keeps_the_name_of_the_only_class(tmp_path):
    root = sound(tmp_path / "photos", count=12)
    (root / "classes.txt").write_text("background\ndog\n")
    check.main([str(root), "--fix", str(tmp_path / "mended")])
    assert data.load("folder", tmp_path / "mended", "all").class_names == ("background", "dog")


@pytest.mark.parametrize("kind", ALONE)
def test_a_defect_of_the_whole_set_is_found(tmp_path, kind):
    root = sound(tmp_path, count=20)
    ALONE[kind](root)
    found, status = checked(root)
    assert kind in found
    assert status == (1 if doctor.KINDS[kind][0] == "error" else 0)


def test_every_kind_of_defect_has_a_test():
    untested = {"large-photo", "rare-class"}
    assert set(doctor.KINDS) == set(DEFECTS) | set(ALONE) | untested
    assert set(doctor.KINDS) >= mend._MASKS | mend._LEFT_OUT
