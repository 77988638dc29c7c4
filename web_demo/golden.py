"""Write what the page's tests compare with, computed by the project's own Python: golden vectors and a clip.

    python web_demo/golden.py [--clip VIDEO --size 1280x720 --frames 60 --rate 30] [--clip-only]

Each array is one little-endian file build/golden/NAME.bin; golden.json beside them holds types and shapes. The clip
(build/golden/clip.y4m) feeds Chromium's fake camera; without a VIDEO it shows drawn portraits.
With --clip-only there is a clip for the benchmark alone, build/bench/WIDTHxHEIGHT.y4m.
"""

from __future__ import annotations

import argparse
import sys
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_demo.copy_models import presets
from keras_models import data
from keras_models import masks as pixels
from keras_models.data import drawings
from tests import golden
from tflite import runtime

OUTPUT = Path(__file__).resolve().parent / "build" / "golden"


def main() -> None:
    """Write everything into web_demo/build/golden."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="video of a person (default: drawings)")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT of the clip")
    parser.add_argument("--frames", type=int, default=45)
    parser.add_argument("--rate", type=int, default=30, help="frames per second of the clip")
    parser.add_argument("--clip-only", action="store_true", help="a clip for the benchmark, no vectors")
    options = parser.parse_args()
    random = np.random.default_rng(7)
    frames = list(islice(clip_frames(options.clip, tuple(map(int, options.size.split("x")))), options.frames))
    if options.clip_only:
        bench = OUTPUT.parent / "bench" / f"{options.size}.y4m"
        bench.parent.mkdir(parents=True, exist_ok=True)
        write_y4m(bench, frames, options.rate)
        return print(f"wrote {bench}")
    arrays = tensors(random) | masks(random) | {"clip": np.stack(frames[:1])}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for path in presets():
        arrays |= {f"{path.stem}/{name}": array for name, array in whole_road(path, frames).items()}
    cv2.imwrite(str(OUTPUT / "photo.png"), cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR))
    write_y4m(OUTPUT / "clip.y4m", frames, options.rate)
    golden.write(arrays, OUTPUT)
    print(f"wrote a clip of {len(frames)} frames into {OUTPUT}")


def clip_frames(path: Path | None, size: tuple[int, int]):
    """Frames of a video, RGB uint8, the middle of each scaled to `size` (width, height); drawings without one."""
    if path is None:
        yield from (cover(drawings.draw(44 + i // 15)[0], size) for i in cycle(range(45)))
    capture = cv2.VideoCapture(str(path))
    while True:
        done, frame = capture.read()
        if not done:
            return
        yield cover(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size)


def cover(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(pixels.cover(image, size[::-1]))


def write_y4m(path: Path, frames: list[np.ndarray], rate: int) -> None:
    """Uncompressed 4:2:0 frames: what Chromium's fake camera reads, again and again."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


def tensors(random) -> dict[str, np.ndarray]:
    """A photo as each input type stores it, resized both ways; probabilities and classes of stored outputs."""
    photo = golden.picture(random, 97, 71)
    prepared = {
        f"resized-{h}x{w}": data.prepare_image(photo, (h, w)) for h, w in ((24, 16), (97, 71), (130, 99), (1, 1))
    }
    one = random.integers(0, 256, (9, 7, 1)).astype(np.uint8)
    two = random.integers(0, 256, (9, 7, 2)).astype(np.uint8)
    five = random.normal(0, 3, (9, 7, 5)).astype(np.float32)
    stored = random.integers(0, 256, (9, 7, 5)).astype(np.uint8)
    real = {"one": (one - 120.0) * 0.05, "two": (two - 110.0) * 0.07, "five": five, "stored": (stored - 99.0) * 0.03}
    return {
        "photo": photo,
        **prepared,
        "float32": prepared["resized-24x16"].astype(np.float32) / 255,
        **{"one": one, "two": two, "five": five, "stored": stored},
        **{f"{name}-foreground": pixels.foreground(logits).astype(np.float32) for name, logits in real.items()},
        "five-classes": five.argmax(-1).astype(np.uint8),
        "stored-classes": stored.argmax(-1).astype(np.uint8),
    }


def masks(random) -> dict[str, np.ndarray]:
    """Smoothing over time, filled contours, edge refinement, the opacity of `predict` and its blurred background."""
    blobs = (cv2.blur(random.random((40, 33)), (3, 3)) > 0.5).astype(np.uint8)
    cv2.circle(blobs, (16, 20), 12, 1, 2)
    y, x = np.mgrid[0:360, 0:270]
    person = np.clip((100 - np.hypot(y - 210, x - 135)) / 30 + 0.5, 0, 1).astype(np.float32)
    large = golden.picture(random, 360, 270)
    mask, small = (data.prepare_image(plane, (160, 160)) for plane in (person, large))
    plain = pixels.alpha(mask, large, refine=False)
    refined = golden.fast_guided_filter(small, large, mask, radius=max(1, round(max(mask.shape) / 100)))
    return {
        **golden.video(random),
        **{"blobs": blobs, "filled": pixels.fill_contours(blobs)},
        "filled-largest": pixels.fill_contours(blobs, regions="largest"),
        "wire": golden.wire(),
        "wire-filled": pixels.fill_contours(golden.wire(), regions="largest"),
        **{"large": large, "mask": mask, "alpha": plain},
        "alpha-refined": np.clip((refined - 0.5) * 2.5 + 0.5, 0, 1),
        "blurred": pixels.blend(large, pixels.blurred(large, plain, 0.03), plain),
        "tinted": pixels.blend(np.broadcast_to(np.uint8((40, 200, 90)), large.shape), large, plain * 0.5),
    }


def whole_road(path: Path, frames: list[np.ndarray]) -> dict[str, np.ndarray]:
    """From a photo to the person's opacity, as `predict` goes with the model at `path`; nothing for streets."""
    segmenter = runtime.Segmenter(path)
    spec, (photo, *_) = segmenter.spec, frames
    if spec["labels"][0] != "background":
        return {}
    probability = pixels.foreground(segmenter.logits(photo))
    if segmenter.fill:
        probability = pixels.fill_contours(probability, spec["threshold"], segmenter.fill)
    masks = [pixels.alpha(pixels.foreground(segmenter.logits(frame)), frame, refine=False) for frame in frames[::3]]
    return {
        "alpha": np.round(255 * pixels.alpha(probability, photo, refine=False)).astype(np.uint8),
        "alpha-refined": np.round(255 * pixels.alpha(probability, photo, refine=True)).astype(np.uint8),
        "clip": np.round(255 * np.stack(masks)).astype(np.uint8),
    }


if __name__ == "__main__":
    main()
