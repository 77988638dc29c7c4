"""Look at a dataset before training on it: what is wrong with its photos, masks and lists, and what helps.

Ends with 1 when there are errors; warnings are for you to judge. `--fix OUT` writes a mended copy.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, pictures
from keras_models.command import option
from keras_models.data import doctor
from keras_models.data.images import VOID
from keras_models.data.listing import SPLITS


@dataclass(frozen=True)
class CheckOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="its kind; python -m keras_models.data info lists them")
    json: str | None = option(None, metavar="FILE", writes=(), help="write the problems here as JSON")
    html: str | None = option(None, metavar="FILE", writes=(), help="write a page with thumbnails of the problems here")
    fix: str | None = option(None, metavar="OUT", help="write a mended copy here, a new folder")
    sheet: str | None = option(
        None, metavar="FILE.png", writes=command.PICTURES, help="write a contact sheet of photos with their masks here"
    )
    sheet_count: int = option(24, help="photos on the contact sheet")


def main(argv: list[str] | None = None) -> int:
    """The command: 1 when there are errors. UserError where there is no dataset to check."""
    options = command.parse(
        CheckOptions,
        argv,
        program="python -m keras_models.data check",
        description=__doc__,
        example="python -m keras_models.data check photos --html photos.html --fix mended",
    )
    if options.sheet_count < 1:
        raise command.UserError(f"--sheet-count is 1 or more. Received: {options.sheet_count}")
    root = Path(options.data_dir)
    if not root.is_dir():
        raise command.UserError(f"There is no folder {root}. DIR is the dataset's folder.")
    collection = doctor.collect(options.dataset, root)
    colors = pictures.class_colors(collection)
    wanted = options.sheet or options.html

    def tile(image, labels):
        return pictures.fit(pictures.overlay(image, labels, colors), (160, 160))

    facts = doctor.examine(collection, tile if wanted else None, command.progress(f"checking {root}"))
    problems = doctor.gather(collection, facts)
    print(report(collection, facts, problems))
    if options.sheet:
        shown = [each.tile for each in facts if each.tile is not None]
        chosen = shown[:: max(1, len(shown) // options.sheet_count)][: options.sheet_count]
        pictures.write(options.sheet, pictures.grid(chosen, 6))
        print(f"contact sheet: {options.sheet}")
    if options.json:
        command.write_text(options.json, json.dumps(as_dict(collection, facts, problems), indent=1) + "\n")
    if options.html:
        command.write_text(options.html, page(collection, facts, problems))
        print(f"page: {options.html}")
    if options.fix:
        from keras_models.data import mend

        print(mend.mend(collection, facts, problems, Path(options.fix)))
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        print(f"{len(errors)} kinds of errors. " + ("" if options.fix else "With --fix OUT a mended copy is written."))
        return 1
    print(
        ("Nothing that must be mended. " if problems else "All is well. ")
        + f"Next: python -m keras_models.train extremec3 --dataset {options.dataset} --data-dir {options.data_dir}"
    )
    return 0


def report(collection: doctor.Collection, facts: list[doctor.Facts], problems: list[doctor.Problem]) -> str:
    """What there is, split by split, and every problem with its remedy."""
    lines = [collection.note] if collection.note else []
    for split in SPLITS:
        found = [each for each in facts if each.item.split == split]
        if not found:
            lines.append(f"{split:6s} none")
            continue
        shapes = sorted({each.shape for each in found if any(each.shape)}) or [(0, 0)]
        lines.append(f"{split:6s} {len(found)} photos, {_size(shapes[0])} to {_size(shapes[-1])}")
        shares = [each.shares for each in found if each.shares is not None]
        if not shares:
            continue
        shares = np.array(shares)
        for label, name in [*enumerate(collection.class_names), (VOID, "void")]:
            if label != VOID or shares[:, VOID].any():
                missing = np.count_nonzero(shares[:, label] == 0)
                lines.append(f"       {name:20s}{shares[:, label].mean():7.1%} of the pixels, none in {missing} photos")
    for problem in problems:
        lines.append(f"{problem.severity}: {len(problem.files)} {problem.what} ({problem.kind})")
        shown = [", ".join(Path(file).name for file in group) for group in problem.groups] or list(problem.files)
        lines += [f"    {file}" for file in shown[:5]]
        lines += [f"    ... and {len(shown) - 5} more"] if len(shown) > 5 else []
        lines.append(f"  {problem.remedy}")
    return "\n".join(lines)


def as_dict(collection: doctor.Collection, facts: list[doctor.Facts], problems: list[doctor.Problem]) -> dict:
    """What `--json` writes."""
    return {
        "data_dir": str(collection.root),
        "classes": list(collection.class_names),
        "splits": {split: sum(each.item.split == split for each in facts) for split in SPLITS},
        "problems": [
            {
                "kind": problem.kind,
                "severity": problem.severity,
                "what": problem.what,
                "files": list(problem.files),
                "groups": [list(group) for group in problem.groups],
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }


def page(collection: doctor.Collection, facts: list[doctor.Facts], problems: list[doctor.Problem]) -> str:
    """A page of the problems with thumbnails, in one file."""
    tiles = {str(path): each.tile for each in facts for path in (each.item.photo, each.item.mask)}
    parts = [f"<pre>{html.escape(report(collection, facts, []))}</pre>"]
    for problem in problems:
        files = [file for group in problem.groups for file in (*group, "")] or list(problem.files)
        figures = [_figure(file, tiles.get(file)) if file else "<hr>" for file in files[:60]]
        more = f"<p>and {len(problem.files) - 60} more</p>" if len(files) > 60 else ""
        parts.append(
            f"<section class={problem.severity}><h2>{len(problem.files)} {html.escape(problem.what)}</h2>"
            f"<p><b>{problem.severity}</b>, {problem.kind}. {html.escape(problem.remedy)}</p>{''.join(figures)}{more}"
            "</section>"
        )
    verdict = "No problem was found." if not problems else ""
    return _PAGE.format(title=html.escape(str(collection.root)), body="".join(parts), verdict=verdict)


def _figure(file: str, tile: np.ndarray | None) -> str:
    picture = ""
    if tile is not None:
        encoded = cv2.imencode(".jpg", tile[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        picture = f"<img src='data:image/jpeg;base64,{base64.b64encode(encoded).decode()}' alt=''>"
    return f"<figure>{picture}<figcaption>{html.escape(file)}</figcaption></figure>"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 15px system-ui, sans-serif; margin: 2rem; max-width: 70rem }}
section {{ border-left: .4rem solid #d80; padding-left: 1rem; margin: 2rem 0 }}
section.error {{ border-color: #c00 }}
figure {{ display: inline-block; width: 160px; margin: .3rem; vertical-align: top }}
figcaption {{ font-size: .75rem; overflow-wrap: anywhere }}
hr {{ border: 0; margin: 0 }}
</style><h1>{title}</h1><p>{verdict}</p>{body}</html>
"""


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
