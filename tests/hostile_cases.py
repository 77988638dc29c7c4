"""Bad input and bad luck, case by case, and what the commands answer; `hostile.py` runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.misfortunes import (
    TRAIN,
    any_size,
    archive,
    asking_for,
    both,
    classifier,
    cut,
    deleted_while_training,
    four_channels,
    fuzzed,
    gone,
    half_written,
    held,
    huge_png,
    in_place_of,
    keras_file,
    masks_of,
    mat_masks,
    moved,
    no_numbers,
    rank_two,
    spec,
    stopped_in_the_first_epoch,
    text,
    three_classes,
    two_inputs,
    two_outputs,
    with_code,
    zip_bomb,
)

PREDICT = "keras_models.predict"
CONVERT = "tflite.convert"
EVALUATE = "keras_models.evaluate model.keras --data-dir photos"
LEARN = "keras_models.train extremec3 --dataset folder --data-dir photos"


@dataclass(frozen=True)
class Case:
    """One line of the table.

    item: which kind of trouble, by the groups below; name: what is unlucky about it
    command: module and arguments; says: a regular expression that the answer holds
    act: what happens to the place before, perhaps a context manager that lasts while the command runs
    status: how the command must end; keeps: whether it must leave every file as it was (None: where it ends with 2)
    stdout: where its standard output goes, instead of here: a file's name, or "closed" for a pipe that nobody reads
    """

    item: int
    name: str
    command: str
    says: str
    act: Callable[[Path], object] = lambda root: None
    status: int = 2
    keeps: bool | None = None
    stdout: str | None = None


_PHOTO = "photos/images/03.jpg"
_MASK = "photos/masks/03.png"
_ODD = f"{PREDICT} odd.keras photo.jpg"
_NET = f"{PREDICT} net.tflite photo.jpg"

CASES = (
    # 1: results over inputs and over older results
    Case(1, "a photo onto itself", f"{PREDICT} net.tflite photo.jpg -o photo.jpg", "is the input, which is never"),
    Case(1, "itself by another path", f"{PREDICT} net.tflite photo.jpg -o photos/../photo.jpg", "is the input"),
    Case(
        1,
        "itself by a hard link",
        f"{PREDICT} net.tflite photo.jpg -o same.jpg --overwrite",
        "same.jpg is the input",
        lambda root: (root / "same.jpg").hardlink_to(root / "photo.jpg"),
    ),
    Case(1, "itself with --overwrite", f"{PREDICT} net.tflite photo.jpg -o photo.jpg --overwrite", "is the input"),
    Case(1, "a folder onto itself", f"{PREDICT} net.tflite photos/images -o photos/images", "is the input"),
    Case(
        1,
        "a video onto itself",
        f"{PREDICT} net.tflite clip.mp4 -o clip.mp4",
        "is the input",
        text("clip.mp4", "film"),
    ),
    Case(
        1,
        "a result that is there",
        f"{PREDICT} net.tflite photo.jpg -o old.png",
        "--overwrite",
        text("old.png", "old"),
    ),
    Case(
        1,
        "and --overwrite",
        f"{PREDICT} net.tflite photo.jpg -o old.png --overwrite",
        "wrote old.png",
        text("old.png", "old"),
        status=0,
    ),
    # 2, 3, 4, 6, 7, 17: run folders
    Case(2, "two trainings, one folder", f"{TRAIN} --output new", "in use by another training: process", held("new")),
    Case(2, "two resumes", "keras_models.train --resume run", "in use by another training: process", held("run")),
    Case(3, "deleted while training", f"{TRAIN} --epochs 1 --output new", "was deleted", deleted_while_training),
    Case(
        4,
        "half a checkpoint is swept",
        "keras_models.train --resume run",
        "Stopped; every finished epoch is kept",
        half_written,
        130,
    ),
    Case(
        6,
        "a photo went",
        "keras_models.train --resume run --data-dir photos",
        "no longer there",
        both(gone(_PHOTO), gone(_MASK)),
    ),
    Case(7, "resume with another seed", "keras_models.train --resume run --seed 3", "omit --seed"),
    Case(7, "resume with a rate", "keras_models.train --resume run --learning-rate 1", "omit --learning-rate"),
    Case(
        7,
        "resume with moved photos",
        "keras_models.train --resume run --data-dir elsewhere",
        "Stopped",
        lambda root: (root / "photos").rename(root / "elsewhere") and stopped_in_the_first_epoch(root),
        130,
    ),
    Case(17, "resume into a run's folder", f"{TRAIN} --output run", "is not empty.*--resume run"),
    Case(
        17,
        "Ctrl-C in the first epoch",
        f"{TRAIN} --output new",
        r"Go on: python -m keras_models.train --resume new",
        stopped_in_the_first_epoch,
        130,
    ),
    Case(
        17,
        "a broken run.json",
        "keras_models.train --resume run",
        "run is no run folder that can be resumed",
        text("run/run.json", "{"),
    ),
    # 5, 8, 10, 13: photos and masks
    Case(
        5,
        "a.jpg and a.png",
        f"{PREDICT} net.tflite photos/images --effect mask",
        "Several photos would become 03.png",
        lambda root: shutil.copy(root / _MASK, root / "photos/images/03.png") and None,
    ),
    Case(
        8,
        "every mask is void",
        "keras_models.data check photos",
        "void",
        both(masks_of(255), text("photos/classes.txt", "a\nb\nc\n")),
        1,
        True,
    ),
    Case(
        8,
        "every mask is black",
        "keras_models.data check photos",
        "splits without any foreground.*Draw the masks",
        masks_of(0),
        1,
        True,
    ),
    *(
        Case(
            8,
            f"{verb} on {kind} masks",
            f"{command} --data-dir photos{rest}",
            "No mask of folder .* shows anything but",
            both(masks_of(value), text("photos/classes.txt", "a\nb\nc\n"), keras_file(three_classes)),
        )
        for verb, command, rest in (
            ("evaluate", "keras_models.evaluate odd.keras", " --split all"),
            ("train", "keras_models.train tests.misfortunes:net --dataset folder --input-size 32", " --output new"),
            ("fine-tune", f"{CONVERT} odd.keras --quantize qat", " -o new.tflite"),
        )
        for kind, value in (("black", 0), ("void", 255))
    ),
    Case(
        8,
        "verify on black masks",
        "tflite.verify net.tflite --against model.keras --data-dir photos",
        "No mask of folder .* shows anything but",
        masks_of(0),
    ),
    Case(10, "257 in MATLAB", f"{TRAIN} --output new", "label 257", mat_masks(257)),
    Case(10, "-255 in MATLAB", f"{TRAIN} --output new", "label -255", mat_masks(-255)),
    Case(10, "1.5 in MATLAB", f"{TRAIN} --output new", "label 1.5", mat_masks(1.5)),
    Case(
        10,
        "a list with a name twice",
        f"{TRAIN} --output new",
        "train.txt names 01 more than once",
        both(text("photos/train.txt", "01\n02\n01\n"), text("photos/val.txt", "03\n")),
    ),
    Case(
        10,
        "lists that overlap",
        f"{TRAIN} --output new",
        "train.txt and val.txt share 1",
        both(text("photos/train.txt", "01\n02\n"), text("photos/val.txt", "02\n")),
    ),
    Case(
        10,
        "a list that is a folder",
        f"{TRAIN} --output new",
        "train.txt is no file",
        lambda root: (root / "photos/train.txt").mkdir(),
    ),
    Case(
        10,
        "a list with a byte-order mark",
        "keras_models.data check photos",
        "train  2 photos",
        both(text("photos/train.txt", b"\xef\xbb\xbf01\n02\n"), text("photos/val.txt", "03\n")),
        0,
    ),
    Case(
        12,
        "a FIFO named like a photo",
        f"{TRAIN} --output new",
        "03.jpg is no file, but a folder or a pipe",
        in_place_of(_PHOTO, os.mkfifo),
    ),
    Case(
        12,
        "predict a FIFO",
        f"{PREDICT} net.tflite pipe.jpg",
        "pipe.jpg is no file",
        lambda root: os.mkfifo(root / "pipe.jpg"),
    ),
    Case(
        12,
        "a PNG of 20,000 x 20,000",
        f"{PREDICT} net.tflite huge.png",
        "huge.png is too large",
        text("huge.png", huge_png(20_000)),
    ),
    Case(
        12, "a mask of 20,000 x 20,000", f"{EVALUATE} --split all", "03.png is too large", text(_MASK, huge_png(20_000))
    ),
    Case(
        12,
        "a damaged PNG that OpenCV reads for ever",
        f"{EVALUATE} --split all",
        "03.png is no readable image",
        lambda root: (root / _MASK).write_bytes((root / _MASK).read_bytes()[:-30] + b"\0" * 300) and None,
    ),
    Case(12, "a .keras that is a zip bomb", _ODD, "odd.keras would unpack to .* GiB", zip_bomb),
    Case(
        12,
        "a .keras that asks for a huge layer",
        _ODD,
        r"odd.keras asks for [\d,]+ weights, far more than it holds",
        asking_for("stem", filters=10**10),
    ),
    Case(
        12,
        "a .keras that asks for a huge photo",
        _ODD,
        r"odd.keras computes values of \d+ GiB for one photo",
        asking_for("image", batch_shape=[None, 10**6, 10**6, 3]),
    ),
    Case(13, "a mask that is a folder", f"{EVALUATE} --split all", "03.png", in_place_of(_MASK, Path.mkdir)),
    Case(
        13,
        "a mask that is a dangling link",
        f"{EVALUATE} --split all",
        "03.png",
        in_place_of(_MASK, lambda path: path.symlink_to("nowhere.png")),
    ),
    Case(
        13,
        "a loop of links",
        f"{EVALUATE} --split all",
        "03.png",
        in_place_of(_MASK, lambda path: path.symlink_to(path.name)),
    ),
    Case(
        13,
        "a photo that is a loop of links",
        f"{PREDICT} net.tflite loop.jpg",
        "loop.jpg",
        lambda root: (root / "loop.jpg").symlink_to("loop.jpg"),
    ),
    Case(
        13,
        "a list in Latin-1",
        f"{TRAIN} --output new",
        "train.txt is not UTF-8",
        text("photos/train.txt", b"caf\xe9\n"),
    ),
    Case(
        13,
        "a list in UTF-16",
        f"{TRAIN} --output new",
        "train.txt is not UTF-8",
        text("photos/train.txt", "01\n02\n".encode("utf-16")),
    ),
    Case(
        13,
        "superscripts in classes.txt",
        "keras_models.data check photos",
        "²",
        text("photos/classes.txt", "a\nb ² ² ²\n"),
        0,
    ),
    Case(13, "predict ²", f"{PREDICT} net.tflite ²", "There is no file or folder ²"),
    Case(13, "a photo's name too long", f"{PREDICT} net.tflite {'x' * 300}.jpg", "too long|no file"),
    Case(
        13,
        "a photo that is empty",
        f"{PREDICT} net.tflite empty.jpg",
        r"empty.jpg is no readable image \(0 bytes\)",
        text("empty.jpg", b""),
    ),
    # 9, 16: numbers
    *(
        Case(
            item,
            f"{flag} {value}",
            f"{LEARN} --output new {flag} {value}",
            f"{flag[2:].replace('-', '[-_]')}.*Received|{flag} must",
        )
        for item, flag, value in (
            (9, "--learning-rate", "nan"),
            (9, "--learning-rate", "-1"),
            (9, "--scale", "0.5"),
            (9, "--shift", "nan"),
            (9, "--halve-at", "2,-1"),
            (9, "--epochs", "-3"),
            (9, "--batch-size", "0"),
            (16, "--seed", "-1"),
            (16, "--input-size", "100000"),
            (16, "--scale", "0,1"),
        )
    ),
    Case(9, "--strength nan", f"{_NET} --effect blur --strength nan", "--strength must be"),
    Case(
        9,
        "convert --learning-rate nan",
        f"{CONVERT} model.keras --quantize qat --learning-rate nan",
        "learning[- ]rate",
    ),
    Case(9, "convert --epochs -1", f"{CONVERT} model.keras --quantize qat --epochs -1", "epochs"),
    Case(
        9,
        "convert --calibration-count -4",
        f"{CONVERT} model.keras --calibration-count -4",
        "--calibration-count must be",
    ),
    Case(9, "convert --prune nan", f"{CONVERT} model.keras --prune nan", "prune"),
    Case(9, "verify --limit nan", "tflite.verify net.tflite --against model.keras --limit nan", "--limit must be"),
    Case(9, "benchmark --runs 0", "tflite.benchmark net.tflite --runs 0", "--runs: must be 1 or more"),
    Case(9, "benchmark --minutes nan", "tflite.benchmark net.tflite --minutes nan", "--minutes: must be more than 0"),
    Case(16, "--strength inf", f"{_NET} --effect blur --strength inf", "--strength must be"),
    Case(
        16,
        "--sheet-count 0",
        "keras_models.data check photos --sheet s.png --sheet-count 0",
        "--sheet-count is 1 or more",
    ),
    Case(16, "--worst-count 0", f"{EVALUATE} --worst w.png --worst-count 0", "--worst-count must be at least 1"),
    Case(
        16,
        "verify --worst-count 0",
        "tflite.verify net.tflite --against model.keras --data-dir photos --worst w.png --worst-count 0",
        "--worst-count must be",
    ),
    Case(16, "verify --layers -2", "tflite.verify net.tflite --against model.keras --layers -2", "--layers must be"),
    Case(
        16,
        "--output that is a file",
        f"{TRAIN} --output photo.jpg",
        "photo.jpg.*(is a file|File exists|Not a directory)",
    ),
    # 11, 14, 15: networks, specs, files
    Case(11, "weights that are NaN", _ODD, "odd.keras holds weights that are no numbers", keras_file(no_numbers)),
    Case(
        11,
        "convert weights that are NaN",
        f"{CONVERT} odd.keras --quantize float32",
        "odd.keras holds weights that",
        keras_file(no_numbers),
    ),
    *(
        Case(item, f"a spec with {name}", _NET, f"net.(json|tflite).*{words}", spec(**changes))
        for item, name, words, changes in (
            (11, "labels as text", "labels", {"labels": "ab"}),
            (11, "a colour out of range", "colors", {"colors": [[0, 0, 0], [0, 300, 0]]}),
            (11, "a colour of two numbers", "colors", {"colors": [[0, 0, 0], [0, 3]]}),
            (11, "a threshold that is text", "threshold", {"threshold": "half"}),
            (11, "a threshold of 7", "threshold", {"threshold": 7}),
            (11, "a threshold that is NaN", "threshold", {"threshold": float("nan")}),
            (11, "probabilities of logits", "probabilities", {"output__kind": "probabilities"}),
            (11, "an unknown kind", "kind", {"output__kind": "feelings"}),
            (11, "fill_contours as text", "fill_contours", {"fill_contours": "no"}),
            (11, "fill_contours as a number", "fill_contours", {"fill_contours": 1}),
            (11, "a smoothing that keeps all", "smoothing", {"smoothing": 1}),
            (11, "another format", "format", {"format": 99}),
            (14, "no output", "output", {"output": ...}),
            (14, "no input", "input", {"input": ...}),
            (14, "no labels", "labels", {"labels": ...}),
            (14, "no activation", "activation", {"output__activation": ...}),
            (14, "an input that is a list", "input", {"input": [1, 2]}),
            (14, "a height that is text", "height", {"input__height": "32"}),
            (14, "500 labels", "labels", {"labels": [f"c{i}" for i in range(500)]}),
            (14, "a class too many", "labels", {"labels": ["a", "b", "c"]}),
            (14, "another activation", "activation", {"output__activation": "sigmoid"}),
            (14, "another size", "64", {"input__height": 64}),
            (11, "blue first", "color_order", {"input__color_order": "BGR"}),
            (11, "another scale of the input", "scale", {"input__scale": 0.5}),
            (11, "another zero point of the output", "zero point", {"output__zero_point": 3}),
        )
    ),
    Case(14, "a spec that is a list", _NET, "net.json is no spec", text("net.json", "[1, 2]")),
    Case(14, "a spec that is a number", _NET, "net.json is no spec", text("net.json", "7")),
    Case(14, "a spec nested 100,000 deep", _NET, "net.json is no spec", text("net.json", "[" * 100_000)),
    Case(14, "a spec of another file", _NET, "net.json describes another file", spec(sha256="0")),
    Case(14, "a spec in UTF-16", _NET, "net.json is no spec", text("net.json", "{}".encode("utf-16"))),
    *(
        Case(14, f"{verb} a {name} model", f"{module} odd.keras {rest}", "odd.keras", keras_file(make))
        for verb, module, rest in (("predict", PREDICT, "photo.jpg"), ("convert", CONVERT, "--quantize float32"))
        for name, make in (
            ("classifying", classifier),
            ("rank-2", rank_two),
            ("four-channel", four_channels),
            ("any-size", any_size),
            ("two-input", two_inputs),
            ("two-output", two_outputs),
        )
        if (verb, make) != ("convert", classifier)
    ),
    Case(
        14,
        "evaluate a classifying model",
        "keras_models.evaluate odd.keras --data-dir photos",
        "no segmenter",
        keras_file(classifier),
    ),
    Case(14, "a run.json that is broken", f"{PREDICT} model.keras photo.jpg", "run.json", text("run.json", "{")),
    Case(14, "a run.json that is a list", f"{PREDICT} model.keras photo.jpg", "run.json", text("run.json", "[]")),
    Case(
        14,
        "a run.json of other classes",
        f"{PREDICT} model.keras photo.jpg",
        "run.json",
        text("run.json", '{"classes": {"names": [1, 2], "colors": 3}}'),
    ),
    Case(
        14,
        "convert beside a broken run.json",
        f"{CONVERT} model.keras --quantize float32",
        "run.json",
        text("run.json", '{"classes": {"names": "ab"}}'),
    ),
    Case(15, "inspect a fuzzed file", "tflite.inspect odd.tflite", "odd.tflite", fuzzed(3)),
    Case(15, "inspect half a file", "tflite.inspect odd.tflite", "odd.tflite", cut("net.tflite", "odd.tflite")),
    Case(15, "inspect a folder", "tflite.inspect photos", "Cannot read photos"),
    Case(15, "pocketseg inspect nothing", "keras_models inspect nowhere.tflite", "Cannot read nowhere.tflite"),
    Case(15, "inspect nothing", "tflite.inspect nowhere.tflite", "Cannot read nowhere.tflite: No such file"),
    *(
        Case(15, f"{name} into {where}", line, says, status=status, stdout=out)
        for name, line in (
            ("inspect", "tflite.inspect net.tflite"),
            ("metadata", "tflite.metadata net.tflite"),
            ("data info", "keras_models.data info"),
            ("summary", "keras_models.summary extremec3_coarse"),
            ("help", "keras_models --help"),
            ("a verb's help", "keras_models.train --help"),
            ("predict", f"{PREDICT} net.tflite photo.jpg --effect mask -o new.png"),
        )
        for where, out, says, status in (
            ("a full disk", "/dev/full", "No space left on device", 2),
            ("a closed pipe", "closed", "^$", 1),
        )
    ),
    # 18: words
    Case(18, "an empty .keras", _ODD, "odd.keras is empty", text("odd.keras", b"")),
    Case(18, "half a .keras", _ODD, "odd.keras is cut short", cut("model.keras", "odd.keras")),
    Case(18, "a .keras that is HDF5", _ODD, "odd.keras is HDF5", text("odd.keras", b"\x89HDF\r\n\x1a\n" + bytes(99))),
    Case(18, "a .keras that is text", _ODD, "odd.keras is no .keras file", text("odd.keras", "a letter")),
    Case(18, "a zip of something else", _ODD, "odd.keras is no model that Keras can read", archive),
    Case(18, "a Lambda layer", _ODD, "Python code .a Lambda layer., which is never run. Save", keras_file(with_code)),
    *(
        Case(18, f"{name} into a file's folder", f"{line} photo.jpg/out{suffix}", "photo.jpg")
        for name, line, suffix in (
            ("evaluate --json", f"{EVALUATE} --json", ".json"),
            ("evaluate --worst", f"{EVALUATE} --worst", ".png"),
            ("verify --json", "tflite.verify net.tflite --against model.keras --json", ".json"),
            ("check --html", "keras_models.data check photos --html", ".html"),
            ("convert -o", f"{CONVERT} model.keras --quantize float32 -o", ".tflite"),
            ("inspect --json", "tflite.inspect net.tflite --json", ".json"),
            ("benchmark --csv", "tflite.benchmark net.tflite --runs 1 --csv", ".csv"),
            ("predict -o", f"{PREDICT} net.tflite photo.jpg -o", ".jpg"),
            ("train --output", f"{TRAIN} --output", ""),
        )
    ),
    Case(18, "evaluate --json onto a folder", f"{EVALUATE} --json photos", "photos is a folder"),
    Case(18, "a sheet of no image format", f"{EVALUATE} --worst w.xyz", "w.xyz"),
    Case(
        18,
        "names with dots in a list",
        "keras_models.data check photos",
        "train  2 photos",
        both(
            moved(_PHOTO, "photos/images/a.b.c.jpg"),
            moved(_MASK, "photos/masks/a.b.c.png"),
            text("photos/train.txt", "a.b.c\n01\n"),
            text("photos/val.txt", "02\n"),
        ),
        0,
    ),
    Case(
        18,
        "photos as .gif",
        f"{TRAIN} --output new",
        r"10 \.gif",
        lambda root: [p.rename(p.with_suffix(".gif")) for p in (root / "photos/images").iterdir()] and None,
    ),
    Case(
        18,
        "a mask as .jpg",
        f"{TRAIN} --output new",
        "03.jpg .its kind does not count",
        moved(_MASK, "photos/masks/03.jpg"),
    ),
    Case(
        18,
        "a PNG of 40,000 x 40,000",
        f"{PREDICT} net.tflite huge.png",
        "too large",
        text("huge.png", huge_png(40_000)),
    ),
    Case(18, "no such preset", f"{PREDICT} extremec4 photo.jpg", "There is no model 'extremec4'.*extremec3-eg1800"),
)
