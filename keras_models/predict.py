"""Segment a photo, a folder of photos, a video or the webcam, and show the effect that a phone would.

INPUT is a file, a folder, or a camera's number (0). The result keeps the input's size, photos are turned upright, edges
are soft. Videos are written as .mp4 without sound. MODEL is a run folder, a preset, a `.keras` or a `.tflite` file.
With a network of several classes `mask` writes their labels as a palette PNG and `overlay` shows their colours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

import keras_models as km
from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data.images import HEIC_SUFFIXES, IMAGE_SUFFIXES
from keras_models.masks import FILLS, alpha, blend, blurred, cover, fill_contours, foreground, labels_at, softmax
from keras_models.smoothing import SHARE, Smoothing

if TYPE_CHECKING:
    from keras_models.models import Predictor

EFFECTS = ("mask", "overlay", "blur", "color", "image")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")


@dataclass(frozen=True)
class PredictOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset, .keras or .tflite")
    input: str = option(positional=True, metavar="INPUT", help="photo, folder, video or camera number")
    output: str | None = option(None, metavar="OUT", help="file or folder to write (default: INPUT-EFFECT)")
    effect: str = option("overlay", choices=EFFECTS, help="what to show")
    color: tuple[int, ...] = option((0, 177, 64), metavar="R,G,B", help="background of the effect `color`")
    image: str | None = option(None, metavar="PHOTO", help="background of the effect `image`")
    strength: float = option(
        0.03, least=0, most=1, help="blur radius of the effect `blur`, as a fraction of the longer side"
    )
    fill_contours: str | None = option(
        None,
        choices=FILLS,
        help="make foreground of what the foreground encloses: in all its regions, or in the largest (EOAM's poster)",
    )
    refine: bool = option(True, help="let the edges follow the photo's own (guided filter)")
    smoothing: float | None = option(
        None,
        least=0,
        below=1,
        help=f"video: share of the previous mask that stays where nothing moves (default: the spec's, else {SHARE})",
    )
    overwrite: bool = option(False, help="replace results that are there already; never the input")


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        PredictOptions,
        argv,
        program="python -m keras_models.predict",
        description=__doc__,
        example="python -m keras_models.predict extremec3-eg1800 photo.jpg --effect blur -o blurred.jpg",
    )
    _effect(options)  # what is wrong with the options is said before the network is read
    source = Path(options.input)
    camera = options.input.isascii() and options.input.isdigit()
    if not camera and not source.exists():
        raise UserError(f"There is no file or folder {source}.")
    output = _output_of(options, camera)
    if Path(options.model).suffix != ".tflite":
        command.load_keras()
    network = km.models.predictor(options.model)
    view = view_of(network, options)
    if camera or source.suffix.lower() in VIDEO_SUFFIXES:
        return _video(network, options, view, output)
    if source.is_dir():
        return _photos(network, options, view, output)
    pictures.write(output, _segment_photo(network, view, data.read_image(source)), view.colors)
    print(f"wrote {output}")
    return 0


def _output_of(options: PredictOptions, camera: bool) -> Path:
    """Where the result goes. UserError for the input itself, for what is there already, and for an unknown format."""
    source = Path(options.input)
    if camera or source.suffix.lower() in VIDEO_SUFFIXES:
        name = f"camera-{options.input}" if camera else source.stem
        output = Path(options.output or f"{name}-{options.effect}.mp4")
        if output.suffix != ".mp4":
            raise UserError(f"Videos are written as .mp4. Received: {output}")
    elif source.is_dir():
        output = Path(options.output or f"{source.resolve().name}-{options.effect}")
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file. The results of a folder go into a folder.")
    else:
        suffix = _suffix_of_result(source, options.effect)
        output = Path(options.output or f"{source.stem}-{options.effect}{suffix}")
        if not cv2.haveImageWriter(str(output)):
            raise UserError(
                f"OpenCV cannot write {output}: it knows no image format {output.suffix!r}. Use .png or .jpg."
            )
    if not camera and output.exists() and output.samefile(source):
        raise UserError(f"{output} is the input, which is never overwritten. Choose another --output.")
    if output.is_file() and not options.overwrite:
        raise UserError(f"{output} is there already. Choose another --output, or add --overwrite.")
    return output


@dataclass(frozen=True)
class View:
    """What becomes of a network's output.

    `values` makes of logits (height, width, channels) what is smoothed over time: probabilities of the foreground or of
    each class. `render` makes the picture of a photo (RGB uint8, any size) and those values: RGB uint8, or uint8
    (height, width), which are labels when there are `colors` (RGB uint8, (256, 3)) and opacity when there are none.
    """

    values: Callable[[np.ndarray], np.ndarray]
    render: Callable[[np.ndarray, np.ndarray], np.ndarray]
    colors: np.ndarray | None = None


def view_of(network: Predictor, options: PredictOptions) -> View:
    """The effect for a network of background and foreground, or for one of several classes. UserError if none fits."""
    several = len(set(network.class_names) - {"edge"}) > 2
    if several and options.effect in ("mask", "overlay"):
        if options.fill_contours:
            raise UserError(
                f"--fill-contours fills the foreground, --effect {options.effect} shows the {len(network.class_names)} "
                f"classes of {network.name}. Use --effect blur, color or image."
            )
        colors = pictures.palette(len(network.class_names))
        colors[: len(network.colors)] = network.colors
        if options.effect == "mask":
            return View(softmax, lambda image, values: labels_at(values, image.shape[:2]), colors)
        return View(softmax, lambda image, values: pictures.overlay(image, labels_at(values, image.shape[:2]), colors))
    if several and network.class_names[0] != "background":
        raise UserError(
            f"{network.name} knows no background (its classes: {', '.join(network.class_names)}), so --effect "
            f"{options.effect} has nothing to replace. Use --effect overlay or mask."
        )
    effect = _effect(options)
    fill = options.fill_contours or network.fill_contours

    def render(image: np.ndarray, values: np.ndarray) -> np.ndarray:
        if fill:
            values = fill_contours(values, regions=fill)
        return effect(image, alpha(values, image, options.refine))

    return View(foreground, render)


def _effect(options: PredictOptions) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The effect as a function of RGB uint8 and opacity; UserError for options that do not make one."""
    if options.effect == "mask":
        return lambda image, opacity: np.round(opacity * 255).astype(np.uint8)
    if options.effect == "blur":
        return lambda image, opacity: blend(image, blurred(image, opacity, options.strength), opacity)
    if options.effect == "color":
        if len(options.color) != 3 or not all(0 <= value <= 255 for value in options.color):
            raise UserError(f"--color takes three numbers from 0 to 255, as 0,177,64. Received: {options.color}")
        color = np.array(options.color, np.uint8)
        return lambda image, opacity: blend(image, np.broadcast_to(color, image.shape), opacity)
    if options.effect == "image":
        if options.image is None:
            raise UserError("--effect image needs --image PHOTO, the new background.")
        background = data.read_image(options.image)
        return lambda image, opacity: blend(image, cover(background, image.shape[:2]), opacity)
    tint = np.array(pictures.palette(2)[1])
    return lambda image, opacity: blend(np.broadcast_to(tint, image.shape), image, opacity * 0.5)


def _segment_photo(network: Predictor, view: View, image: np.ndarray) -> np.ndarray:
    return view.render(image, view.values(network.logits(data.prepare_image(image, network.input_size)[None])[0]))


def _photos(network: Predictor, options: PredictOptions, view: View, output: Path) -> int:
    paths = [path for path in sorted(Path(options.input).iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise UserError(f"{options.input} holds no photo ({', '.join(IMAGE_SUFFIXES)}).")
    results = [output / f"{path.stem}{_suffix_of_result(path, options.effect)}" for path in paths]
    clashes = sorted({path.name for path in results if results.count(path) > 1})
    if clashes:
        raise UserError(f"Several photos would become {', '.join(clashes[:3])}: give each photo a name of its own.")
    there = [path for path in results if path.exists()]
    if there and not options.overwrite:
        raise UserError(f"{len(there)} results are in {output} already, as {there[0].name}. Add --overwrite.")
    progress, broken = command.progress("segmenting"), []
    for i, (path, target) in enumerate(zip(paths, results, strict=True), start=1):
        try:
            result = _segment_photo(network, view, data.read_image(path))
            pictures.write(target, result, view.colors)
        except UserError as error:
            broken.append(str(error))
        progress(i, len(paths))
    print(f"wrote {len(paths) - len(broken)} photos into {output}")
    if broken:
        raise UserError("\n  ".join([f"{len(broken)} photos were left out:", *broken]))
    return 0


def _suffix_of_result(photo: Path, effect: str) -> str:
    """The photo's own, but for masks, which are PNG, and for HEIC, which OpenCV cannot write."""
    return ".png" if effect == "mask" else ".jpg" if photo.suffix.lower() in HEIC_SUFFIXES else photo.suffix


def _video(network: Predictor, options: PredictOptions, view: View, output: Path) -> int:
    capture = cv2.VideoCapture(int(options.input) if options.input.isdecimal() else options.input)
    ok, frame = capture.read()
    if not ok:
        raise UserError(f"{options.input} gives no picture: it is no video, is damaged, or no such camera is there.")
    total = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
    progress, done, started = command.progress("segmenting"), 0, time.monotonic()
    share = next(share for share in (options.smoothing, network.smoothing, SHARE) if share is not None)
    smoothing = Smoothing(share)
    with command.whole_file(output) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), rate, frame.shape[1::-1])
        if not writer.isOpened():
            raise UserError(f"OpenCV cannot write {output}: it was built without an MPEG-4 encoder.")
        try:
            while ok:
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                small = data.prepare_image(image, network.input_size)
                result = view.render(image, smoothing(view.values(network.logits(small[None])[0]), small))
                if view.colors is not None:
                    result = view.colors[result]
                code = cv2.COLOR_GRAY2BGR if result.ndim == 2 else cv2.COLOR_RGB2BGR
                writer.write(cv2.cvtColor(result, code))
                done += 1
                progress(min(done, total or done), total or done)
                ok, frame = capture.read()
        except KeyboardInterrupt:
            print("\nstopped; what was done is kept", file=sys.stderr)
        finally:
            writer.release()
            capture.release()
        _require_frames(temporary, done)
    print(f"wrote {output}: {done} frames, {done / (time.monotonic() - started):.1f} frames/s")
    return 0


def _require_frames(path: Path, frames: int) -> None:
    """OpenCV's writer reports no error, not even a full disk: count what can be read back."""
    written = cv2.VideoCapture(str(path))
    if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != frames:
        raise UserError(f"The video could not be written whole; the disk that holds {path.parent} may be full.")
    written.release()


if __name__ == "__main__":
    command.run(main)
