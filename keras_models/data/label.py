"""Masks for photos that have none, as case 2 of ExtremeC3Net's section 3.3: a heavier network draws them.

Each photo is seen mirrored and at every one of --scales by every labeller; what they say is averaged. OUT is a dataset
of the kind `folder`. `confidence.csv` lists the photos, the least sure first, which is the order that `data review OUT`
shows them in; photos below --least are left out of `images/` and stay in the list. Stopped, the same command goes on.
A labeller is a run folder, a preset, a `.keras` or `.tflite` file, or `mediapipe:selfie_segmenter.tflite`, Google's
(Apache-2.0; pip install mediapipe, and the file from
https://storage.googleapis.com/mediapipe-models/image_segmenter/selfie_segmenter/float16/latest/selfie_segmenter.tflite).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import keras_models as km
from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data import folder
from keras_models.data.images import IMAGE_SUFFIXES
from keras_models.data.listing import by_stem
from keras_models.masks import foreground, guided_filter, softmax

COLUMNS = ("image", "confidence", "kept", "note")
LONGER_SIDE = 1600  # larger photos are labelled at this size, and their masks enlarged
CLASS_NAMES = ("background", "person")


@dataclass(frozen=True)
class LabelOptions:
    """The command's flags."""

    photos: str = option(positional=True, metavar="PHOTOS", help="folder of photos")
    labeller: tuple[str, ...] = option(metavar="MODEL,MODEL", help="what draws the masks; several are averaged")
    output: str = option(metavar="OUT", help="folder to write")
    classes: bool = option(False, help="keep the labellers' classes; else all that is no background is the person")
    flip: bool = option(True, help="see each photo mirrored too")
    scales: tuple[float, ...] = option((1.0,), help="sizes to see each photo at, 0.5 to 2; above 1 in four parts")
    refine: str = option("none", choices=("none", "guided", "grabcut"), help="move the masks' edges to the photo's")
    least: float = option(0.85, least=0, most=1, help="leave out photos of a lower confidence, 0-1")


@dataclass(frozen=True)
class Labeller:
    """A network that labels: `probabilities` of RGB uint8 (views, height, width, 3) are (views, h, w, classes)."""

    name: str
    input_size: tuple[int, int]
    class_names: tuple[str, ...]
    colors: list[list[int]]
    probabilities: Callable[[np.ndarray], np.ndarray]
    licence: str
    close: Callable[[], None] = lambda: None


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a model or folder that is none, and for an OUT that another command made."""
    options = command.parse(
        LabelOptions,
        argv,
        program="python -m keras_models.data label",
        description=__doc__,
        example="python -m keras_models.data label holiday --labeller runs/a,runs/b --scales 1,1.25 -o labelled",
    )
    if not options.scales or not all(0.5 <= scale <= 2 for scale in options.scales):
        raise UserError(f"--scales are 0.5 to 2. Received: {','.join(map(str, options.scales))}")
    photos = list(by_stem(Path(options.photos), IMAGE_SUFFIXES).values())
    output = Path(options.output)
    wanted = json.loads(json.dumps(dataclasses.asdict(options)))
    done = _resume(output, wanted)
    command.load_keras()
    labellers = [labeller(name, options.classes) for name in options.labeller]
    names = {each.class_names for each in labellers}
    if len(names) > 1:
        listed = "; ".join(f"{each.name}: {', '.join(each.class_names)}" for each in labellers)
        raise UserError(f"Only labellers of the same classes can be averaged ({listed}). Leave --classes out.")
    if options.refine == "grabcut" and len(labellers[0].class_names) > 2:
        raise UserError("--refine grabcut knows foreground and background alone. With --classes use guided.")
    command.write_text(output / "label.json", json.dumps(wanted, indent=1) + "\n")
    with contextlib.ExitStack() as stack:
        for each in labellers:
            stack.callback(each.close)
        rows = _label_all(photos, labellers, options, output, done)
    rows.sort(key=lambda row: float(row["confidence"]))
    with command.whole_file(output / "confidence.csv") as path:
        _write_rows(path, rows, header=True)
    if len(labellers[0].class_names) > 2:
        folder.write_classes(output, labellers[0].class_names, np.array(labellers[0].colors))
    drawn_by = "".join(f"\n- {each.name} (licence: {each.licence})" for each in labellers)
    made = (
        f"The photos of {photos[0].resolve().parent.name}, with masks that networks drew (`python -m keras_models.data "
        f"label`; options in `label.json`):\n{drawn_by}"
    )
    licence = folder.write_source(output, Path(options.photos), made)
    kept = [float(row["confidence"]) for row in rows if row["kept"] == "yes"]
    print(f"{len(kept)} of {len(rows)} photos labelled, {len(rows) - len(kept)} left out below {options.least:g}")
    if kept:
        print(f"confidence: least {min(kept):.3f}, median {np.median(kept):.3f}; list: {output / 'confidence.csv'}")
    print(licence, *(f"Masks by {each.name}. Its licence: {each.licence}" for each in labellers), sep="\n")
    if kept:
        print(f"Next: python -m keras_models.data review {options.output}")
    else:
        surest = max(float(row["confidence"]) for row in rows)
        print(
            f"Nothing to review: the surest photo has {surest:.3f}. Try another labeller, --scales, or a lower --least."
        )
    return 0


def _resume(output: Path, wanted: dict) -> dict[str, dict]:
    """What an earlier start of the same command has done, by photo. UserError when OUT is something else's."""
    facts = output / "label.json"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not facts.is_file():
            raise UserError(f"{output} is there already and not by this command. Choose another name, or remove it.")
        earlier = json.loads(facts.read_text(encoding="utf-8"))
        other = [f"--{key} {earlier.get(key)}" for key in wanted if key != "output" and earlier.get(key) != wanted[key]]
        if other:
            raise UserError(f"{output} was begun with {', '.join(other)}. Go on with that, or choose another name.")
    listing = output / "confidence.csv"
    if not listing.is_file():
        return {}
    with listing.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["note"] is not None]  # a line cut short is done again
    return {row["image"]: row for row in rows}


def _label_all(photos, labellers, options, output, done) -> list[dict]:
    """The rows of `confidence.csv`; each is appended when its photo and mask are there."""
    several = len(labellers[0].class_names) > 2
    colors = pictures.palette(len(labellers[0].class_names))
    colors[: len(labellers[0].colors)] = labellers[0].colors
    with command.whole_file(output / "confidence.csv") as path:  # without a line that was cut short
        _write_rows(path, done.values(), header=True)
    todo = [path for path in photos if path.name not in done]
    show, rows = command.progress("labelling"), list(done.values())
    for number, path in enumerate(todo, start=1):
        try:
            image = data.read_image(path)
        except UserError as error:
            row = {"image": path.name, "confidence": "0", "kept": "no", "note": str(error)}
        else:
            labels, sure = label(image, labellers, options)
            kept = sure >= options.least
            row = {"image": path.name, "confidence": f"{sure:.4f}", "kept": "yes" if kept else "no", "note": ""}
            if kept:
                folder.write_mask(output / "masks" / f"{path.stem}.png", labels, colors if several else None)
                with command.whole_file(output / "images" / path.name) as copy:
                    shutil.copyfile(path, copy)
        with (output / "confidence.csv").open("a", newline="", encoding="utf-8") as file:
            _write_rows(file, [row])
        rows.append(row)
        show(number, len(todo))
    return rows


def _write_rows(target, rows, header: bool = False) -> None:
    if isinstance(target, Path):
        with target.open("w", newline="", encoding="utf-8") as file:
            return _write_rows(file, rows, header)
    writer = csv.DictWriter(target, COLUMNS)
    if header:
        writer.writeheader()
    writer.writerows(rows)


def label(image: np.ndarray, labellers: list[Labeller], options: LabelOptions) -> tuple[np.ndarray, float]:
    """Labels uint8 (height, width) of RGB uint8 `image`, and their confidence."""
    size = image.shape[:2]
    scale = min(1.0, LONGER_SIDE / max(size))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    probabilities = np.mean([average(image, each, options.scales, options.flip) for each in labellers], axis=0)
    sure = confidence(probabilities)
    if options.refine == "guided":
        guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        radius = max(2, round(max(guide.shape) / 100))
        filtered = [guided_filter(guide, np.ascontiguousarray(p), radius) for p in np.moveaxis(probabilities, -1, 0)]
        probabilities = np.stack(filtered, axis=-1)
    if options.refine == "grabcut":
        labels = grabcut(image, probabilities[..., 1])
    else:
        labels = probabilities.argmax(-1).astype(np.uint8)
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST), sure


def confidence(probabilities: np.ndarray) -> float:
    """How sure the likeliest labels of `probabilities` (height, width, classes) are, 0 to 1; 0 with no foreground.

    It is the IoU to be expected if each pixel were what it is with the probability given, as the ratio of the expected
    intersection and union, averaged over the classes found: a wide or wavering edge costs a small mask more than a
    large one, and labellers or views that disagree lower it.
    """
    labels = probabilities.argmax(-1)
    found = []
    for number in np.unique(labels[labels > 0]):
        mask, probability = labels == number, probabilities[..., number]
        found.append(probability[mask].sum() / (mask.sum() + probability[~mask].sum()))
    return float(np.mean(found)) if found else 0.0


def average(image: np.ndarray, network: Labeller, scales: tuple[float, ...], flip: bool) -> np.ndarray:
    """Probabilities float32 (height, width, classes) of `image`, averaged over its views."""
    places = list(_places(image.shape[:2], scales))
    views = []
    for top, left, height, width in places:
        # A view that is larger than the photo sees it mirrored at its border.
        above, before = max(0, -top), max(0, -left)
        below, after = (
            max(0, a + b - side) for a, b, side in zip((top, left), (height, width), image.shape, strict=False)
        )
        seen = cv2.copyMakeBorder(image, above, below, before, after, cv2.BORDER_REFLECT_101)
        view = data.prepare_image(seen[top + above :, left + before :][:height, :width], network.input_size)
        views += [view, view[:, ::-1]] if flip else [view]
    answers = network.probabilities(np.stack(views))
    if flip:
        answers = (answers[::2] + answers[1::2, :, ::-1]) / 2
    total = np.zeros((*image.shape[:2], answers.shape[-1]), np.float32)
    count = np.zeros((*image.shape[:2], 1), np.float32)
    for (top, left, height, width), answer in zip(places, answers, strict=True):
        answer = cv2.resize(np.ascontiguousarray(answer, np.float32), (width, height)).reshape(height, width, -1)
        rows, columns = slice(max(0, top), top + height), slice(max(0, left), left + width)
        answer = answer[max(0, -top) :, max(0, -left) :][: total[rows].shape[0], : total[:, columns].shape[1]]
        total[rows, columns] += answer
        count[rows, columns] += 1
    return total / count


def _places(size: tuple[int, int], scales: tuple[float, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height, width of the views: the whole photo, a larger frame around it, or its four corners."""
    for scale in scales:
        height, width = (round(side / scale) for side in size)
        down, right = size[0] - height, size[1] - width
        if scale > 1:
            yield from ((top, left, height, width) for top in (0, down) for left in (0, right))
        else:
            yield down // 2, right // 2, height, width


def grabcut(image: np.ndarray, probability: np.ndarray, band: float = 0.02) -> np.ndarray:
    """Labels 0 and 1 of RGB uint8 `image` by GrabCut (Rother et al., 2004) near the edge of `probability`.

    It decides in a band of `band` times the photo's longer side on both sides of the edge and where the probability is
    between 0.1 and 0.9; elsewhere the probability does.
    """
    mask = (probability > 0.5).astype(np.uint8)
    if mask.min() == mask.max():
        return mask
    width = 2 * max(1, round(band * max(mask.shape))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    near = (cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)) | (np.abs(probability - 0.5) < 0.4)
    marks = np.where(near, np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD), np.where(mask, cv2.GC_FGD, cv2.GC_BGD))
    marks = marks.astype(np.uint8)
    cv2.setRNGSeed(0)  # its colour models start from random clusters
    cv2.grabCut(image[..., ::-1].copy(), marks, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    return np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def labeller(source: str, classes: bool = False) -> Labeller:
    """A model by what `models.predictor` knows, or `mediapipe:FILE.tflite`. UserError for anything else."""
    if source.startswith("mediapipe:"):
        return _mediapipe(Path(source.removeprefix("mediapipe:")))
    network = km.models.predictor(source)
    several = classes and len(set(network.class_names) - {"edge"}) > 2
    if network.class_names[0] != "background":
        raise UserError(f"{source} knows no background (its classes: {', '.join(network.class_names)}).")

    def probabilities(views: np.ndarray) -> np.ndarray:
        logits = network.logits(views)
        if several:
            return softmax(logits)
        person = np.stack([foreground(each) for each in logits])
        return np.stack([1 - person, person], axis=-1)

    facts = (network.class_names, network.colors) if several else (CLASS_NAMES, pictures.palette(2)[:2].tolist())
    return Labeller(source, network.input_size, *facts, probabilities, _licence(source))


def _licence(source: str) -> str:
    """What the card beside a model says."""
    return km.models.card(source).get("licence") or "not stated; that of its training data holds"


def _mediapipe(path: Path) -> Labeller:
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise UserError("MediaPipe is not installed. Run: pip install mediapipe") from error
    if not path.is_file():
        raise UserError(f"There is no {path}. `data label --help` says where Google's selfie segmenter is.")
    options = vision.ImageSegmenterOptions(
        BaseOptions(model_asset_path=str(path)), output_category_mask=False, output_confidence_masks=True
    )
    try:
        segmenter = vision.ImageSegmenter.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"MediaPipe cannot open {path}: {error}") from error

    def probabilities(views: np.ndarray) -> np.ndarray:
        found = []
        for view in views:
            result = segmenter.segment(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(view)))
            masks = [np.squeeze(mask.numpy_view()) for mask in result.confidence_masks]
            # A single mask is the person's; of several the first is the background's.
            person = masks[0] if len(masks) == 1 else 1 - masks[0]
            found.append(np.stack([1 - person, person], axis=-1))
        return np.stack(found)

    facts = (CLASS_NAMES, pictures.palette(2)[:2].tolist())
    licence = "Apache-2.0 (MediaPipe's models)"
    return Labeller(f"mediapipe:{path.name}", (256, 256), *facts, probabilities, licence, segmenter.close)
