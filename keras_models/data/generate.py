"""More portraits out of photos of whole people whose masks exist, as case 1 of ExtremeC3Net's section 3.3.

In each photo a face is found, its box is widened to head and shoulders, and photo and mask are cut out together. With
--zooms they are cut out at several widths: a network that saw nobody from near takes half a face for background. OUT is
a dataset of the kind `folder` with the splits of DIR, a contact sheet, and a note on its origin and licence. Look
through it with `data review OUT`, then train on it.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data import faces, folder
from keras_models.data.datasets import Dataset, read_each, splits
from keras_models.data.images import VOID
from keras_models.data.listing import stem_of


@dataclass(frozen=True)
class GenerateOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    output: str = option(metavar="OUT", help="folder to write")
    dataset: str = option("folder", metavar="KIND", help="its kind")
    detector: str = option(
        "haar", help=f"what finds faces: {', '.join(faces.DETECTORS)}, or your own as package.module:function"
    )
    widths: float = option(3.5, least=1, help="width of the portrait, in widths of the face")
    heights: float = option(3.7, least=1, help="height of the portrait, in heights of the face")
    above: float = option(0.9, help="how much of that is above the face, in heights of the face")
    zooms: tuple[float, ...] = option(
        (1.0,), above=0, metavar="ZOOM,...", help="a portrait each, so many times tighter than that, as 1,1.5,2"
    )
    every_face: bool = option(False, help="a portrait of every face on a mask, not only of the surest")
    min_side: int = option(96, help="leave out portraits whose shorter side has fewer pixels")
    sheet_count: int = option(48, least=1, help="portraits on the contact sheet")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a folder that is no such dataset, or in which no face is found."""
    options = command.parse(
        GenerateOptions,
        argv,
        program="python -m keras_models.data generate",
        description=__doc__,
        example="python -m keras_models.data generate clothing-co-parsing --dataset ccp -o ccp-portraits",
    )
    if len(set(options.zooms)) < len(options.zooms):
        raise UserError(f"--zooms has a number twice. Received: {','.join(f'{zoom:g}' for zoom in options.zooms)}")
    started, source = time.monotonic(), Path(options.data_dir)
    detectors = faces.detectors(options.detector)
    sets = {split: data.load(options.dataset, source, split) for split in splits(options.dataset, source)}
    with command.whole_folder(options.output) as output:
        figures = generate(sets, detectors, options, output)
        figures["seconds"] = round(time.monotonic() - started, 1)
        content = {"options": dataclasses.asdict(options), **figures}
        command.write_text(output / "generated.json", json.dumps(content, indent=1) + "\n")
        made = (
            f"Portraits cut out of {source.resolve().name} (read as `{options.dataset}`) by `python -m "
            "keras_models.data generate`; `generated.json` has the options and the boxes."
        )
        licence = folder.write_source(output, source, made)
    photos, portraits = figures["photos"], len(figures["portraits"])
    yielding = photos - len(figures["left_out"])
    print(f"{portraits} portraits from {yielding} of {photos} photos ({yielding / photos:.1%}), {figures['seconds']} s")
    print(f"in {len(figures['left_out'])} photos no face was found on the person: `left_out` in generated.json")
    print(f"contact sheet: {Path(options.output) / 'contact_sheet.jpg'}\n{licence}")
    print(f"Next: python -m keras_models.data review {options.output}")
    return 0


def generate(
    sets: dict[str, Dataset], detectors: tuple[faces.Detector, ...], options: GenerateOptions, output: Path
) -> dict:
    """Write the portraits of every split; the figures: `photos`, `portraits` with their boxes, `left_out`."""
    found = {split: _find(dataset, detectors, options) for split, dataset in sets.items()}
    first = next(iter(sets.values()))
    void = any(portrait["void"] for portraits in found.values() for portrait in portraits)
    colors = pictures.class_colors(first) if len(first.class_names) > 2 or void else None
    count = sum(map(len, found.values()))
    if not count:
        raise UserError(
            f"--detector {options.detector} finds no face on a person in these photos. Are they of people who look "
            "into the camera? Another detector may find more."
        )
    names = collections.Counter(portrait["name"] for portraits in found.values() for portrait in portraits)
    if twice := [name for name, times in names.items() if times > 1]:
        raise UserError(f"Photos of one name would give one portrait: {', '.join(twice[:3])}. Generate set by set.")
    show, tiles, written = command.progress("cutting out"), [], {}
    for split, portraits in found.items():
        for portrait in portraits:
            name, (left, top, right, bottom) = portrait["name"], portrait["box"]
            image, labels = (x[top:bottom, left:right] for x in sets[split].load(portrait.pop("index")))
            portrait.pop("void")
            pictures.write(output / "images" / f"{name}.jpg", image)
            folder.write_mask(output / "masks" / f"{name}.png", labels, colors)
            if len(written) % max(1, count // options.sheet_count) == 0 and len(tiles) < options.sheet_count:
                tiles.append(pictures.fit(pictures.overlay(image, labels, pictures.class_colors(first)), (160, 160)))
            written[name] = {"split": split, **portrait}
            show(len(written), count)
    folder.write_lists(output, {split: [p["name"] for p in portraits] for split, portraits in found.items()})
    if len(first.class_names) > 2:
        folder.write_classes(output, first.class_names, pictures.class_colors(first))
    pictures.write(output / "contact_sheet.jpg", pictures.grid(tiles, 8))
    sources = {portrait["photo"] for portrait in written.values()}
    left_out = [name for dataset in sets.values() for name in dataset.names if name not in sources]
    return {
        "photos": sum(map(len, sets.values())),
        "left_out": left_out,
        "portraits": list(written.values()),
    }


def _find(dataset: Dataset, detectors: tuple[faces.Detector, ...], options: GenerateOptions) -> list[dict]:
    """The portraits of a split, a photo's surest first: `name`, `photo`, its `index`, `face`, `zoom`, `box`, `void`."""

    framing = np.array([options.widths, options.heights, options.above])

    def boxes(image: np.ndarray, labels: np.ndarray) -> list[list[dict]]:
        found = []
        for face in faces.find(detectors, image, labels):
            portraits, rounded = [], [round(value, 1) for value in face.tolist()]
            for zoom in options.zooms:
                left, top, right, bottom = box = faces.portrait_box(face, labels.shape, *framing / zoom)
                if min(right - left, bottom - top) >= options.min_side:
                    void = bool((labels[top:bottom, left:right] == VOID).any())
                    portraits.append({"face": rounded, "zoom": zoom, "box": box, "void": void})
            if portraits:
                found.append(portraits)
        return found if options.every_face else found[:1]

    portraits, progress = [], command.progress(f"finding faces in {dataset.title}")
    for index, found in enumerate(read_each(dataset, boxes, progress)):
        photo = dataset.names[index]
        for number, of_face in enumerate(found, start=1):
            for portrait in of_face:
                name = stem_of(photo) + (f"_{number}" if number > 1 else "")
                name += "" if portrait["zoom"] == 1 else f"_x{portrait['zoom']:g}"
                portraits.append({"name": name, "photo": photo, "index": index, **portrait})
    return portraits
