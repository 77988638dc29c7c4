"""Write the golden vectors that the Kotlin pixel code is tested against, computed by the project's own Python code.

Each array is one little-endian file NAME.bin; golden.json beside them holds types and shapes. Pixels are RGB uint8.

    python golden.py --check      writes app/src/main/assets/check instead: a photo and each preset's foreground in
                                  it, which the app's speed test compares a phone with; after a change of a preset
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_demo.copy_models import presets
from keras_models import data, pictures
from keras_models import masks as pixels
from keras_models.data import drawings
from keras_models.masks import guided_filter
from tests import golden
from tflite import runtime

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(__file__).parent / "app" / "src" / "main" / "assets" / "models"
CHECK = ASSETS.parent / "check"
PORTRAIT = Path(__file__).parent / "app" / "src" / "test" / "resources" / "portrait.jpg"
OUTPUT = Path(__file__).parent / "build" / "golden"
SIZES = {"same": None, "smaller": (17, 23), "larger": (64, 45), "one": (1, 1)}  # (height, width)
CROP = (3, 5, 21, 14)  # left, top, width, height


def main() -> None:
    """Write all vectors into android_demo/build/golden."""
    if sys.argv[1:] == ["--check"]:
        return write_check()
    random = np.random.default_rng(7)
    arrays = {}
    for vectors in (orientations, resizes, yuv, tensors, masks, effects, golden.video):
        arrays |= {f"{vectors.__name__}/{name}": array for name, array in vectors(random).items()}
    for path in sorted(ASSETS.glob("*.tflite")):
        arrays |= {f"models/{path.stem}/{name}": array for name, array in whole_road(path).items()}
    golden.write(arrays, OUTPUT)


def orientations(random) -> dict[str, np.ndarray]:
    """A stored JPEG and what `read_image` makes of it under each EXIF tag, whole and cropped, at several sizes."""
    done, encoded = cv2.imencode(".jpg", golden.picture(random, 27, 38))
    assert done
    stored = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)
    vectors = {"stored": stored}
    left, top, width, height = CROP
    with tempfile.TemporaryDirectory() as folder:
        for tag in range(1, 9):
            path = Path(folder) / f"{tag}.jpg"
            path.write_bytes(with_exif_orientation(encoded.tobytes(), tag))
            upright = data.read_image(path)
            for size, shape in SIZES.items():
                vectors[f"{tag}-{size}"] = data.prepare_image(upright, shape or upright.shape[:2])
            vectors[f"{tag}-crop"] = data.prepare_image(upright[top : top + height, left : left + width], (19, 11))
    return vectors


def with_exif_orientation(jpeg: bytes, tag: int) -> bytes:
    """`jpeg` with an EXIF segment that holds the orientation `tag` alone."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, tag, 0)
    body = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def resizes(random) -> dict[str, np.ndarray]:
    """`prepare_image` of uint8 and float32, `prepare_mask` of labels."""
    image, plane = golden.picture(random, 31, 45), random.random((31, 45), np.float32)
    vectors = {"image": image, "plane": plane}
    for size, shape in SIZES.items():
        shape = shape or (31, 45)
        vectors[f"image-{size}"] = data.prepare_image(image, shape)
        vectors[f"plane-{size}"] = data.prepare_image(plane, shape)
    return vectors


def yuv(random) -> dict[str, np.ndarray]:
    """I420 planes and their RGB: OpenCV's for the limited range, JPEG's formula for the full range."""
    height, width = 22, 34
    image = golden.picture(random, height, width)
    i420 = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, u, v = np.split(i420, [height * width, height * width * 5 // 4])
    doubled = [np.repeat(np.repeat(p.reshape(height // 2, width // 2), 2, 0), 2, 1).astype(float) - 128 for p in (u, v)]
    y = luma.reshape(height, width).astype(float)
    full = np.stack(
        [y + 1.402 * doubled[1], y - 0.344136 * doubled[0] - 0.714136 * doubled[1], y + 1.772 * doubled[0]], -1
    )
    y709 = (y - 16) * 255 / 219
    gain = 255 / 224
    kr, kb = 0.2126, 0.0722
    red, blue = y709 + gain * 2 * (1 - kr) * doubled[1], y709 + gain * 2 * (1 - kb) * doubled[0]
    limited709 = np.stack([red, (y709 - kr * red - kb * blue) / (1 - kr - kb), blue], -1)
    limited = cv2.cvtColor(i420.reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_I420)
    as_bytes = [np.clip(np.round(values), 0, 255).astype(np.uint8) for values in (full, limited709)]
    return {
        **{"image": image, "luma": luma.reshape(height, width), "u": u, "v": v},
        **{"full_601": as_bytes[0], "limited_601": limited, "limited_709": as_bytes[1]},
    }


def tensors(random) -> dict[str, np.ndarray]:
    """A photo as each input type stores it, and probabilities of stored outputs."""
    photo = golden.picture(random, 41, 30)
    prepared = data.prepare_image(photo, (24, 16))
    real = prepared.astype(np.float32) / 255
    logits = random.normal(0, 3, (9, 7, 5)).astype(np.float32)
    likely = pixels.softmax(3 * logits)  # some are next to 0
    stored = random.integers(-128, 128, (9, 7, 1)).astype(np.int8)
    stored2 = random.integers(0, 256, (9, 7, 2)).astype(np.uint8)
    return {
        "photo": photo,
        "uint8": prepared,
        "int8": (prepared.astype(int) - 128).astype(np.int8),
        "float32": real,
        "logits": logits,
        "logits-foreground": pixels.foreground(logits).astype(np.float32),
        "logits-classes": logits.argmax(-1).astype(np.uint8),
        "stored": stored,
        "stored-foreground": pixels.foreground((stored.astype(np.float32) + 11) * np.float32(0.07)).astype(np.float32),
        "stored2": stored2,
        "stored2-foreground": pixels.foreground((stored2.astype(np.float32) - 120) * np.float32(0.05)).astype(
            np.float32
        ),
        "likely": likely,
        "likely-foreground": Given(likely, "softmax").foreground(),
        "likely-stored-foreground": Given((stored.astype(np.float32) + 128) / 256, "sigmoid").foreground(),
        "likely-stored2-foreground": Given(stored2 / np.float32(255), "softmax").foreground(),
    }


class Given(runtime.Segmenter):
    """A model that gives the probabilities `values`; the rest is as in any other."""

    def __init__(self, values: np.ndarray, activation: str):
        self.kind, self.values, self.spec = "probabilities", values, {"output": {"activation": activation}}

    def output(self, image) -> np.ndarray:
        return self.values

    def foreground(self) -> np.ndarray:
        return pixels.foreground(self.logits(None)).astype(np.float32)


def masks(random) -> dict[str, np.ndarray]:
    """Filled contours, edge refinement and the opacity curve of `predict`."""
    blobs = (cv2.blur(random.random((40, 33)), (3, 3)) > 0.5).astype(np.uint8)
    cv2.circle(blobs, (16, 20), 12, 1, 2)
    filled = pixels.fill_contours(blobs)
    photo = golden.picture(random, 40, 33)
    rough = cv2.blur((cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) > 120).astype(np.float32), (5, 5))
    large = golden.picture(random, 97, 71)
    small = data.prepare_image(large, (40, 33))
    return {
        "blobs": blobs,
        "filled": filled,
        "filled-largest": pixels.fill_contours(blobs, regions="largest"),
        "wire": golden.wire(),
        "wire-filled": pixels.fill_contours(golden.wire(), regions="largest"),
        "photo": photo,
        "rough": rough,
        "guided": guided_filter(golden.grey(photo), rough, 3),
        "large": large,
        "small": small,
        "guided-large": golden.fast_guided_filter(small, large, rough, 3),
        "alpha": pixels.alpha(rough, large, refine=False),
    }


def effects(random) -> dict[str, np.ndarray]:
    """Blending, tints, the palette and the blurred background of `predict` and `pictures`."""
    photo, behind = golden.picture(random, 240, 181), golden.picture(random, 240, 181)[:, ::-1]
    y, x = np.mgrid[0:240, 0:181]
    mask = np.clip((80 - np.hypot(y - 140, x - 90)) / 24 + 0.5, 0, 1).astype(np.float32)
    labels = random.integers(0, 6, (240, 181)).astype(np.uint8)
    opacity = np.round(mask * 256) / 256  # the phone blends with 8-bit weights
    return {
        "photo": photo,
        "behind": behind,
        "mask": mask,
        "labels": labels,
        "blend": pixels.blend(photo, behind, opacity),
        "overlay": pictures.overlay(photo, labels, pictures.palette(6)),
        "tint": pixels.blend(np.broadcast_to(pictures.palette(2)[1], photo.shape), photo, opacity * 0.5),
        "palette2": pictures.palette(2),
        "palette20": pictures.palette(20),
        "blurred": pixels.blurred(photo, mask, 0.06).astype(np.uint8),
    }


def write_check() -> None:
    """The portrait and, as grey, the foreground's probability that each preset sees in it."""
    CHECK.mkdir(exist_ok=True)
    photo = data.prepare_image(data.read_image(PORTRAIT), (360, 480))  # the largest preset's: none has to enlarge it
    cv2.imwrite(str(CHECK / "portrait.png"), photo[..., ::-1])
    for path in presets():
        seen = pixels.foreground(runtime.Segmenter(path).logits(photo))
        small = np.round(255 * seen).astype(np.uint8)
        cv2.imwrite(str(CHECK / f"{path.stem}.png"), small)
        print(f"wrote {CHECK / path.stem}.png")


def whole_road(path: Path) -> dict[str, np.ndarray]:
    """From a photo to the picture with another background, as `predict` goes with the model at `path`.

    The interpreter's input and output are there as stored, so that a JVM without it can go the same road.
    """
    segmenter = runtime.Segmenter(path)
    drawing = road(path, segmenter, drawings.draw(44)[0])
    portrait = road(path, segmenter, data.read_image(PORTRAIT))
    return drawing | {f"portrait-{name}": array for name, array in portrait.items()}


def road(path: Path, segmenter: runtime.Segmenter, photo: np.ndarray) -> dict[str, np.ndarray]:
    """What `predict` makes of `photo`, and what the interpreter was given and gave."""
    probability = pixels.foreground(segmenter.logits(photo))
    alpha = pixels.alpha(probability, photo, refine=False)
    behind = np.broadcast_to(np.array((0, 177, 64), np.uint8), photo.shape)
    interpreter = runtime.load_interpreter(path)
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    real = data.prepare_image(photo, segmenter.input_size).astype(np.float32) / 255
    stored = runtime.stored(real, source)[None]
    interpreter.set_tensor(source["index"], stored)
    interpreter.invoke()
    return {
        "photo": photo,
        "input": stored[0],
        "output": interpreter.get_tensor(result["index"])[0],
        "alpha": alpha.astype(np.float32),
        "blend": pixels.blend(photo, behind, alpha),
        "refined": pixels.blend(photo, behind, pixels.alpha(probability, photo, refine=True)),
    }


if __name__ == "__main__":
    main()
