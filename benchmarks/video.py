"""Smoothing of masks over time, flicker against lag: which filter, how strong.

    python -m benchmarks.video pocketnet-m --clips CLIP.mkv,CLIP.mp4

Each clip is segmented as it is and with a webcam's noise; every filter then runs over the same masks. Compared is the
opacity that people see, at the mask's size:

    flicker     mean change of opacity from frame to frame where the clip stands still, in percent
    lag         the delay in frames at which the filter's opacity agrees best with the reference where the clip moves
    moving IoU  with the reference where the clip moves; lag, ghosts and flicker all lower it
    all IoU     the same everywhere: what a filter leaves behind after a movement counts too

The reference is the median of five masks of the clip without noise, two of them later ones: no filter that shows frames
as they come can be so calm without delay. Writes results/video.json and results/video.png, and of the
last clip results/video-clip.jpg: where it flickers, and what trails behind a movement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from benchmarks import machine
from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.masks import foreground, steep
from keras_models.models import Predictor, predictor
from keras_models.smoothing import SHARE, Smoothing

STILL, MOVING = 1.5 / 255, 6 / 255  # change of the blurred grey picture, the largest within 4 pixels
DELAYS = np.arange(0, 3.01, 0.1)  # frames
Filter = Callable[[np.ndarray, np.ndarray], np.ndarray]  # masks and grey pictures, (frames, height, width) of 0-1


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="preset, run folder, .keras or .tflite")
    clips: tuple[str, ...] = option(metavar="VIDEO[,VIDEO...]", help="videos of people")
    frames: int = option(60, least=10, help="of each clip")
    noise: float = option(6.0, least=0, help="standard deviation of the added noise, in steps of a byte")


@dataclasses.dataclass(frozen=True)
class Clip:
    """`masks`, `grey`, `reference` (frames, height, width) of 0-1; `still` and `moving` are boolean, from frame 1 on.

    `pictures` are RGB uint8, `shape` is (height, width) of the video.
    """

    name: str
    masks: np.ndarray
    grey: np.ndarray
    reference: np.ndarray
    still: np.ndarray
    moving: np.ndarray
    pictures: list[np.ndarray]
    shape: tuple[int, int]


def recursive(kept: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | float], radius: int = 0) -> Filter:
    """previous * kept + current * (1 - kept); `kept` of (previous, current, change of the grey picture's box means)."""

    def run(masks: np.ndarray, grey: np.ndarray) -> np.ndarray:
        means = [cv2.blur(plane, (2 * radius + 1, 2 * radius + 1)) for plane in grey] if radius else grey
        smoothed = [masks[0]]
        for t in range(1, len(masks)):
            share = kept(smoothed[-1], masks[t], np.abs(means[t] - means[t - 1]))
            smoothed.append(masks[t] + (smoothed[-1] - masks[t]) * share)
        return np.stack(smoothed)

    return run


def one_euro(slowest: float, beta: float, rate: float = 30.0) -> Filter:
    """A low pass per pixel whose cutoff, in Hz, is `slowest` + `beta` * speed (Casiez et al., CHI 2012)."""

    def weight(cutoff):
        return 1 / (1 + rate / (2 * np.pi * cutoff))

    def run(masks: np.ndarray, grey: np.ndarray) -> np.ndarray:
        smoothed, speed = [masks[0]], np.zeros_like(masks[0])
        for before, mask in pairwise(masks):
            speed += weight(1.0) * ((mask - before) * rate - speed)
            smoothed.append(smoothed[-1] + (mask - smoothed[-1]) * weight(slowest + beta * np.abs(speed)))
        return np.stack(smoothed)

    return run


def candidates() -> dict[str, dict[str, Filter]]:
    """The filters of each family, by their parameters."""

    def fade(change, limit):
        return np.clip(1 - change / limit, 0, 1)

    shares = (0.6, 0.8, 0.9, 0.95)
    return {
        "none": {"": lambda masks, grey: masks},
        "chosen: less where the picture changes": {f"{SHARE}": chosen()},
        "moving average": {f"{s}": recursive(lambda p, c, m, s=s: s) for s in (0.3, 0.5, 0.7, 0.8)},
        "less where the mask changes": {
            f"{s}": recursive(lambda p, c, m, s=s: s * fade(np.abs(c - p), 0.5)) for s in shares
        },
        "less where the mask around changes": {
            f"{s}": recursive(lambda p, c, m, s=s: s * fade(np.abs(cv2.blur(c - p, (5, 5))), 0.5)) for s in shares
        },
        "less where the picture changes": {
            f"{s}, {r} px, {limit}/255": recursive(lambda p, c, m, s=s, k=limit / 255: s * fade(m, k), r)
            for s, r, limit in (*((s, 2, 6) for s in shares), (0.8, 2, 4), (0.8, 2, 10), (0.8, 1, 6), (0.8, 4, 6))
        },
        "less where picture or mask changes": {
            f"{s}, 2 px, 6/255": recursive(lambda p, c, m, s=s: s * fade(m, 6 / 255) * fade(np.abs(c - p), 1), 2)
            for s in shares
        },
        "one euro": {f"{f} Hz, {b}": one_euro(f, b) for f in (0.3, 1.0) for b in (1.0, 3.0, 10.0)},
    }


def read(path: str, network: Predictor, limit: int, noise: float, random: np.random.Generator) -> tuple[Clip, Clip]:
    """The middle `limit` frames of the clip as they are, and with noise. UserError when it is no video."""
    capture, shown = cv2.VideoCapture(path), []
    for _ in range(max(0, (int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - limit) // 2)):
        capture.grab()
    while len(shown) < limit and (read := capture.read())[0]:
        shown.append(data.prepare_image(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), network.input_size))
    if len(shown) < 10:
        raise UserError(f"{path} gives {len(shown)} pictures; a clip needs 10.")
    noisy = [np.clip(picture + random.normal(0, noise, picture.shape), 0, 255).astype(np.uint8) for picture in shown]
    blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), 2) for plane in greys(shown)])
    change = np.stack([cv2.dilate(plane, np.ones((9, 9))) for plane in np.abs(np.diff(blurred, axis=0))])
    clean = segment(network, shown)
    padded = np.pad(clean, ((2, 2), (0, 0), (0, 0)), mode="edge")
    reference = np.median([padded[i : i + len(clean)] for i in range(5)], axis=0).astype(np.float32)
    facts = (reference, change < STILL, change > MOVING)
    name = Path(path).stem
    shape = tuple(int(capture.get(i)) for i in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    return (
        Clip(name, clean, greys(shown), *facts, shown, shape),
        Clip(f"{name}, noise", segment(network, noisy), greys(noisy), *facts, noisy, shape),
    )


def greys(pictures: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for picture in pictures])


def segment(network: Predictor, pictures: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack([foreground(network.logits(p[None])[0]) for p in pictures]).astype(np.float32)


def measure(clip: Clip, smoothed: np.ndarray) -> dict[str, float]:
    """What this file's docstring names, as fractions of 1 and frames."""
    opacity, truth = (steep(masks) for masks in (smoothed, clip.reference))
    frame, y, x = np.nonzero(clip.moving[3:])
    seen = opacity[frame + 4, y, x]
    delayed = [truth[frame + 4 - i, y, x] for i in range(5)]
    errors = []
    for delay in DELAYS:
        whole, part = int(delay), delay % 1
        errors.append(np.abs(seen - delayed[whole] * (1 - part) - delayed[whole + 1] * part).mean())
    now, then = smoothed[1:] > 0.5, clip.reference[1:] > 0.5
    return {
        "flicker": float(np.abs(np.diff(opacity, axis=0))[clip.still].mean()),
        "lag": float(DELAYS[np.argmin(errors)]),
        "moving_iou": float((now & then)[clip.moving].sum() / (now | then)[clip.moving].sum()),
        "iou": float((now & then).sum() / (now | then).sum()),
    }


def chosen() -> Filter:
    """The project's own (`keras_models.smoothing`)."""

    def run(masks: np.ndarray, grey: np.ndarray) -> np.ndarray:
        smoothing = Smoothing()
        return np.stack([smoothing(m, np.repeat(255 * g[..., None], 3, 2)) for m, g in zip(masks, grey, strict=True)])

    return run


def plot(rows: list[dict], path: Path) -> None:
    """Accuracy where the clips move against flicker, with the noise; a line for each family."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7, 4.2))
    for family in dict.fromkeys(row["family"] for row in rows):
        found = sorted(
            (100 * r["noise"]["flicker"], 100 * r["noise"]["moving_iou"]) for r in rows if r["family"] == family
        )
        ours = family.startswith("chosen")
        style = {"color": "#d64818", "markersize": 13, "zorder": 9} if ours else {"markersize": 5, "alpha": 0.8}
        panel.plot(*zip(*found, strict=True), "*" if ours else "o-", label=family, **style)
    panel.set_xlabel("flicker where the clips stand still, % of opacity a frame")
    panel.set_ylabel("IoU where they move, %")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.tight_layout()
    with command.whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def strip(clip: Clip, path: Path) -> None:
    """The masks of none, a moving average and the chosen filter: where they flicker; the frame that moves most."""
    ways = (lambda masks, grey: masks, candidates()["moving average"]["0.8"], chosen())
    frame = 1 + int(np.argmax(clip.moving.sum(axis=(1, 2))))
    rows = [[], []]
    for way in ways:
        opacity = steep(way(clip.masks, clip.grey))
        heat = np.mean(np.abs(np.diff(opacity, axis=0)) * clip.still, axis=0)
        shown = cv2.applyColorMap(np.uint8(255 * np.clip(heat / 0.03, 0, 1)), cv2.COLORMAP_INFERNO)[..., ::-1]
        rows[0].append(shown)
        tint = np.uint8((40, 200, 90)) * opacity[frame][..., None]
        rows[1].append(np.uint8(clip.pictures[frame] * (1 - 0.6 * opacity[frame][..., None]) + 0.6 * tint))
    size = (round(320 * clip.shape[0] / clip.shape[1]), 320)
    pictures.write(path, np.vstack([np.hstack([data.prepare_image(tile, size) for tile in row]) for row in rows]))


def main(argv: list[str] | None = None) -> int:
    """Measure all filters on all clips; print and write the table and the pictures."""
    options = command.parse(
        VideoOptions,
        argv,
        program="python -m benchmarks.video",
        description=__doc__,
        example="python -m benchmarks.video pocketnet-m --clips walk.mkv,night.mkv",
    )
    network, random = predictor(options.model), np.random.default_rng(0)
    progress, clips = command.progress("segmenting"), []
    for i, path in enumerate(options.clips, start=1):
        clips += read(path, network, options.frames, options.noise, random)
        progress(i, len(options.clips))
    rows = []
    for family, filters in candidates().items():
        for parameters, filtered in filters.items():
            found = [measure(clip, filtered(clip.masks, clip.grey)) for clip in clips]
            means = {
                kind: {name: float(np.mean([one[name] for one in found[start::2]])) for name in found[0]}
                for start, kind in enumerate(("clean", "noise"))
            }
            rows.append({"family": family, "parameters": parameters, **means})
            cells = "   ".join(
                f"{kind}: {100 * m['flicker']:.4f} % lag {m['lag']:.1f} IoU {m['moving_iou']:.4f} {m['iou']:.4f}"
                for kind, m in means.items()
            )
            print(f"{family:36s} {parameters:18s} {cells}", flush=True)
    protocol = {"model": network.name, "frames": options.frames, "noise": options.noise}
    machine.write("video", {"clips": [clip.name for clip in clips[::2]], **protocol, "rows": rows})
    plot(rows, machine.RESULTS / "video.png")
    strip(clips[-1], machine.RESULTS / "video-clip.jpg")
    return 0


if __name__ == "__main__":
    command.run(main)
