"""Augmentation on the accelerator, in `keras.ops`: the photos lie in its memory, the host only draws the numbers.

A graphics card trains small networks faster than a host can warp photos. `training_batches` is `pipeline`'s with the
pixels changed where the network is: the same order of photos and the same `Augmentation`, for a whole batch at once.
What differs from `Augmentation` in OpenCV: the numbers are drawn per batch, a median blur is a Gaussian one, a lower
resolution is the blur that it brings, and JPEG's rounding is its decoder's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import ops
from scipy.signal import fftconvolve

from keras_models import losses
from keras_models.command import UserError
from keras_models.data import pipeline
from keras_models.data.augment import PEOPLE, Augmentation
from keras_models.data.images import VOID, prepare_image, prepare_mask

OTHERS = len(PEOPLE)  # photos of which people may be pasted in
REACH = 4  # pixels to each side that blur looks at
_KNOWN = {  # what is done here; a number of `Augmentation` that is not is refused
    *("rotation_degrees", "scale", "shift", "stretch", "flip", "outside", "mirrored"),
    *("probability", "saturation", "brightness", "contrast", "sharpness", "blur", "noise"),
    *("paste", "paste_scale", "paste_softness", "gamma", "temperature", "shadow", "jpeg", "motion_blur", "downscale"),
}


def training_batches(
    samples: pipeline.Samples | list,
    input_size: tuple[int, int],
    label_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation,
    *,
    seed: int,
    first_epoch: int = 0,
    heads: int = 1,
    teacher: Callable[[np.ndarray], np.ndarray] | None = None,
):
    """Endless batches as `pipeline.training_batches` makes them, as tensors of the Keras backend.

    Epoch e follows from `seed` and e alone. UserError for more photos than an index of 32 bits reaches, and for
    augmentation that only `pipeline` does.
    """
    for field in dataclasses.fields(augmentation):
        if field.name not in _KNOWN and getattr(augmentation, field.name) != field.default:
            raise UserError(f"--augment-on device does not know augmentation's {field.name}. Use --augment-on host.")
    photos = Photos(samples, tuple(round(side * augmentation.zoom) for side in input_size))
    order, change = pipeline.Order(samples, batch_size, seed), _compiled(photos, input_size, augmentation)
    rows, columns = pipeline.subsampled(label_size, input_size)

    def logits(images):
        return ops.convert_to_tensor(teacher(ops.convert_to_numpy(images)))

    def batch(number):
        epoch, step = first_epoch + number // order.steps, number % order.steps
        rng = np.random.default_rng((seed, epoch, step))
        index = order.epoch(epoch)[step * batch_size : (step + 1) * batch_size]
        images, labels = change(draw(augmentation, photos.size, input_size, index, order, rng))
        if tuple(label_size) != tuple(input_size):
            labels = ops.take(ops.take(labels, rows, axis=1), columns, axis=2)
        return images, pipeline.targets(images, labels, heads, teacher and logits)

    return pipeline.py_dataset(batch, None)


class Photos:
    """The photos of `samples` and their labels in the accelerator's memory, all stretched to one size, at most `size`.

    images: uint8 (photos * rows * columns, 3), a row per pixel. labels: the same with one column.
    """

    def __init__(self, samples: pipeline.Samples | list, size: tuple[int, int]):
        largest = np.max([samples[i][0].shape[:2] for i in range(len(samples))], axis=0)
        self.size = tuple(int(min(sides)) for sides in zip(size, largest, strict=True))
        if len(samples) * self.size[0] * self.size[1] > np.iinfo(np.int32).max:
            raise UserError(
                f"{len(samples)} photos of {self.size[0]}x{self.size[1]} are too many to hold on the accelerator. Use "
                "--augment-on host."
            )
        images = np.empty((len(samples), *self.size, 3), np.uint8)
        labels = np.empty((len(samples), *self.size, 1), np.uint8)
        for i in range(len(samples)):
            image, mask = samples[i]
            images[i], labels[i, ..., 0] = prepare_image(image, self.size), prepare_mask(mask, self.size)
        self.images, self.labels = (ops.convert_to_tensor(a.reshape(-1, a.shape[-1])) for a in (images, labels))


def _compiled(photos: Photos, size: tuple[int, int], augmentation: Augmentation):
    """`augmented` as the backend compiles it, a function of the numbers of `draw` alone."""
    field = np.random.default_rng(0).standard_normal(2**20).astype(np.float32)
    images, labels, field = photos.images, photos.labels, ops.convert_to_tensor(field)
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # As arguments, not as constants of the program.
        run = jax.jit(lambda *held_and_drawn: augmented(*held_and_drawn, photos.size, size, augmentation))
        return lambda drawn: run(images, labels, field, drawn)

    def change(drawn):
        return augmented(images, labels, field, drawn, photos.size, size, augmentation)

    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(change, reduce_retracing=True)
    return change


# -- On the host: numbers ----------------------------------------------------------------------------------------------


def draw(
    augmentation: Augmentation,
    stored: tuple[int, int],
    size: tuple[int, int],
    index: np.ndarray,
    order: pipeline.Order,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """What is done to each photo of a batch: arrays whose first axis is the batch. A neutral number changes nothing."""
    count = len(index)

    def happens(probability):
        return rng.random(count) < probability

    def between(low, high, where, neutral):
        return np.where(where, rng.uniform(low, high, count), neutral)

    matrices, flipped = augmentation.matrices(stored, size, rng, count)
    drawn = {"index": index, "from": _inverse(matrices), "flipped": flipped}
    if augmentation.paste:
        others = [augmentation.pasted.matrices(stored, size, rng, count) for _ in range(OTHERS)]
        drawn["other"] = order.others(rng, count * OTHERS).reshape(count, OTHERS)
        drawn["other_from"] = np.stack([_inverse(matrices) for matrices, _ in others], axis=1)
        drawn["other_flipped"] = np.stack([flipped for _, flipped in others], axis=1)
        drawn["chance"] = rng.random(count)
        drawn["people"] = rng.choice((1, 2, 3), count, p=PEOPLE)
        drawn["softness"] = gaussian(rng.uniform(0.3, 1, count) * augmentation.paste_softness)
    coloured, half = happens(augmentation.probability), augmentation.probability / 2
    for name in ("saturation", "brightness", "contrast"):
        drawn[name] = between(*getattr(augmentation, name), coloured, 1)
    lit = happens(2 * half)
    for name in ("gamma", "temperature"):
        drawn[name] = 2 ** between(-getattr(augmentation, name), getattr(augmentation, name), lit, 0)
    drawn["darkest"] = 1 - between(0, augmentation.shadow, happens(half), 0)
    drawn["angle"], drawn["place"] = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.2, 0.8, count)
    drawn["width"] = rng.uniform(0.02, 0.5, count)
    drawn["kernel"] = _kernels(augmentation, coloured, happens, between, rng)
    quality = rng.integers(augmentation.jpeg[0], augmentation.jpeg[1] + 1, count)
    drawn["quality"] = np.where(happens(half), quality, 100)
    drawn["noise"] = between(0, augmentation.noise, happens(augmentation.probability), 0)
    drawn["noise_start"] = rng.integers(2**20, size=count)
    kinds = {"f": np.float32, "i": np.int32, "b": np.bool_}
    return {name: np.asarray(values).astype(kinds[np.asarray(values).dtype.kind]) for name, values in drawn.items()}


def _inverse(matrices: np.ndarray) -> np.ndarray:
    return np.linalg.inv(matrices)[:, :2]


def _kernels(augmentation: Augmentation, coloured, happens, between, rng) -> np.ndarray:
    """Sharpness, blur, the camera's move and its resolution as one filter for each photo: (batch, side, side)."""
    count, half = len(coloured), augmentation.probability / 2
    still, box = gaussian(np.zeros(count)), np.pad(np.full((3, 3), 1 / 9), REACH - 1)
    sharpness = between(*augmentation.sharpness, coloured, 1)[:, None, None]
    kernel = sharpness * still + (1 - sharpness) * box
    parts = []
    if augmentation.blur:
        # OpenCV's deviation for a Gaussian of so many pixels; a box of that many has about the same.
        sides = rng.choice(augmentation.blur, count)
        parts.append(np.where(happens(augmentation.probability), 0.3 * ((sides - 1) / 2 - 1) + 0.8, 0))
    if augmentation.downscale < 1:
        # A pixel of the small photo averages `steps` of the large one, and is spread over as many again.
        steps = 1 / between(augmentation.downscale, 1, happens(half), 1)
        parts.append(np.sqrt(np.maximum(steps**2 - 1, 0) / 4))
    for deviation in parts:
        kernel = fftconvolve(kernel, gaussian(deviation), mode="same", axes=(1, 2))
    if augmentation.motion_blur > 1:
        length = between(2, augmentation.motion_blur, happens(half), 0)
        kernel = fftconvolve(kernel, _line(length, rng.uniform(0, np.pi, count)), mode="same", axes=(1, 2))
    return kernel / kernel.sum((1, 2), keepdims=True)


def gaussian(deviation: np.ndarray) -> np.ndarray:
    """Filters (n, side, side) of these standard deviations in pixels; 0 is the filter that changes nothing."""
    offsets = np.arange(-REACH, REACH + 1)
    one = np.exp(-0.5 * (offsets / np.maximum(deviation, 1e-3)[:, None]) ** 2)
    one /= one.sum(1, keepdims=True)
    return one[:, :, None] * one[:, None, :]


def _line(length: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Filters (n, side, side) that average along a line through the centre."""
    along = np.linspace(-0.5, 0.5, 17)[:, None] * np.minimum(length, 2 * REACH)
    kernel = np.zeros((len(length), 2 * REACH + 1, 2 * REACH + 1))
    rows, columns = (np.rint(along * part(angle)).astype(int) + REACH for part in (np.sin, np.cos))
    np.add.at(kernel, (np.arange(len(length))[None].repeat(17, 0), rows, columns), 1 / 17)
    return kernel


# -- On the accelerator: pixels ----------------------------------------------------------------------------------------


def augmented(images, labels, field, drawn: dict, stored, size, augmentation: Augmentation):
    """Images uint8 (batch, height, width, 3) and labels uint8 (batch, height, width, 1) at `size`.

    `images`, `labels`: see `Photos`, of which each photo is `stored` (rows, columns) large; `field`: normal numbers.
    """
    image = warp(images, drawn["index"], drawn["from"], stored, size, border=128.0)
    found = _labels(labels, drawn["index"], drawn["from"], drawn["flipped"], stored, size, augmentation)
    if augmentation.paste:
        empty = ops.logical_not(ops.any(found > 0, axis=(1, 2, 3)))
        chosen = drawn["chance"] < ops.where(empty, 3 * augmentation.paste, augmentation.paste)
        for i in range(OTHERS):
            place = (drawn["other"][:, i], drawn["other_from"][:, i])
            other = warp(images, *place, stored, size, border=128.0)
            other_labels = _labels(labels, *place, drawn["other_flipped"][:, i], stored, size, augmentation.pasted)
            pasted = ops.logical_and(chosen, drawn["people"] > i)[:, None, None, None]
            image, found = paste(image, found, other, ops.where(pasted, other_labels, 0), drawn["softness"])
    image = colour(image, drawn["saturation"], drawn["brightness"], drawn["contrast"])
    if augmentation.gamma or augmentation.temperature:
        image = tone(image, drawn["gamma"], drawn["temperature"])
    if augmentation.shadow:
        image = shade(image, drawn["darkest"], drawn["angle"], drawn["place"], drawn["width"])
    image = filtered(image, drawn["kernel"])
    if min(augmentation.jpeg) < 100:
        image = jpeg(image, drawn["quality"])
    if augmentation.noise:
        pixels = ops.arange(size[0] * size[1] * 3, dtype="int32")
        normal = ops.take(field, (drawn["noise_start"][:, None] + pixels) % field.shape[0])
        image = image + ops.reshape(normal, (-1, *size, 3)) * _wide(drawn["noise"])
    return ops.cast(ops.clip(image + 0.5, 0, 255), "uint8"), ops.cast(found, "uint8")


def warp(pixels, index, matrices, stored, size, border: float, nearest: bool = False):
    """The photos `index` at `size`, float32 (batch, height, width, channels); `border` is what lies outside of them.

    `matrices` (batch, 2, 3) say which pixel (x, y) of the photo each pixel of the result shows. Bilinear, or the
    nearest pixel.
    """
    height, width = size
    x = ops.arange(width, dtype="float32")[None, None, :]
    y = ops.arange(height, dtype="float32")[None, :, None]
    matrices = matrices[..., None, None]
    x, y = (matrices[:, i, 0] * x + matrices[:, i, 1] * y + matrices[:, i, 2] for i in (0, 1))
    rows, columns = stored
    start = index[:, None, None] * (rows * columns)

    def at(row, column):
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        place = start + ops.clip(row, 0, rows - 1) * columns + ops.clip(column, 0, columns - 1)
        return ops.where(inside[..., None], ops.cast(ops.take(pixels, place, axis=0), "float32"), border)

    if nearest:
        return at(*(ops.cast(ops.floor(part + 0.5), "int32") for part in (y, x)))
    left, top = ops.floor(x), ops.floor(y)
    right, down = (x - left)[..., None], (y - top)[..., None]
    left, top = ops.cast(left, "int32"), ops.cast(top, "int32")
    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - down) + below * down


def _labels(labels, index, matrices, flipped, stored, size, augmentation: Augmentation):
    found = ops.cast(warp(labels, index, matrices, stored, size, float(augmentation.outside), nearest=True), "int32")
    exchanged = found
    for left, right in augmentation.mirrored:
        exchanged = ops.where(found == left, right, ops.where(found == right, left, exchanged))
    return ops.where(flipped[:, None, None, None], exchanged, found) if augmentation.mirrored else found


def paste(image, labels, other, other_labels, softness):
    """`compose.paste` for a batch; `softness` are the filters that blur each pasted edge."""
    foreground = ops.logical_and(other_labels > 0, other_labels != VOID)
    alpha = filtered(ops.cast(foreground, "float32"), softness)
    near = losses.dilate(ops.cast(foreground, "float32"), 7) > 0
    taken = ops.logical_or(foreground, ops.logical_and(other_labels == VOID, near))
    return other * alpha + image * (1 - alpha), ops.where(taken, other_labels, labels)


def colour(image, saturation, brightness, contrast):
    """Each photo's saturation, then its brightness and its contrast about its mean; 1 is as it is."""
    grey = _grey(image)
    image = ops.clip(image * _wide(saturation) + grey * _wide(1 - saturation), 0, 255)
    mean = ops.mean(grey, axis=(1, 2, 3)) * brightness
    return ops.clip(image * _wide(brightness * contrast) + _wide(mean * (1 - contrast)), 0, 255)


def tone(image, gamma, temperature):
    """`light.tone` for a batch."""
    warmth = ops.stack([temperature, ops.ones_like(temperature), 1 / temperature], axis=-1)[:, None, None]
    return ops.clip(255 * ops.power(image / 255 + 1e-6, _wide(gamma)) * warmth, 0, 255)


def shade(image, darkest, angle, place, width):
    """`light.shade` for a batch."""
    rows, columns = (ops.linspace(-0.5, 0.5, side, dtype="float32") for side in image.shape[1:3])
    darkest, angle, place, width = (part[:, None, None] for part in (darkest, angle, place, width))
    across = rows[None, :, None] * ops.sin(angle) + columns[None, None] * ops.cos(angle) + 0.5 - place
    light = 1 - (1 - darkest) * ops.clip(across / ops.maximum(width, 1e-3) + 0.5, 0, 1)
    return image * light[..., None]


def filtered(image, kernels):
    """Each photo of (batch, height, width, channels) under its filter (batch, side, side), mirrored at its border."""
    side, (height, width) = kernels.shape[1], image.shape[1:3]
    padded = ops.pad(image, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="reflect")
    # A sum of shifted photos, which XLA makes one loop of; convolutions with a filter each are slow.
    return sum(
        padded[:, row : row + height, column : column + width] * _wide(kernels[:, row, column])
        for row in range(side)
        for column in range(side)
    )


def _grey(image):
    return ops.sum(image * ops.convert_to_tensor([0.299, 0.587, 0.114], "float32"), axis=-1, keepdims=True)


def _wide(numbers):
    """One number per photo, as it multiplies photos."""
    return numbers[:, None, None, None]


# -- JPEG (ITU-T T.81, annexes A and K) --------------------------------------------------------------------------------

_BRIGHTNESS = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_COLOUR = "17 18 24 47 18 21 26 66 24 26 56 99 47 66 99 99"  # the corner; 99 elsewhere
_FROM_RGB = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def jpeg(image, quality):
    """What a JPEG file of each photo's quality (1 to 100; 100 is left as it is) keeps, with colour at half resolution.

    Sides that are no multiple of 16 are left as they are at their right and lower ends.
    """
    height, width = (side // 16 * 16 for side in image.shape[1:3])
    whole = image
    image = image[:, :height, :width]
    quality = ops.cast(quality, "float32")
    scale = ops.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    colour_table = np.full((8, 8), 99.0)
    colour_table[:4, :4] = np.reshape(_COLOUR.split(), (4, 4)).astype(float)
    tables = (np.reshape(_BRIGHTNESS.split(), (8, 8)).astype(float), colour_table)
    bright, dim = (ops.clip(ops.floor((table.astype(np.float32) * scale + 50) / 100), 1, 255) for table in tables)
    planes = ops.matmul(image, ops.convert_to_tensor(_FROM_RGB.T, "float32"))
    small = ops.average_pool(planes[..., 1:], 2, 2, data_format="channels_last")
    small = ops.image.resize(_quantised(small, dim), (height, width), data_format="channels_last")
    planes = ops.concatenate([_quantised(planes[..., :1] - 128, bright) + 128, small], axis=-1)
    kept = ops.matmul(planes, ops.convert_to_tensor(np.linalg.inv(_FROM_RGB).T, "float32"))
    kept = ops.where(_wide(quality) < 100, ops.clip(kept, 0, 255), image)
    if (height, width) == tuple(whole.shape[1:3]):
        return kept
    kept = ops.concatenate([kept, whole[:, :height, width:]], axis=2)
    return ops.concatenate([kept, whole[:, height:]], axis=1)


def _quantised(planes, table):
    """Planes (batch, height, width, channels) after their 8x8 blocks' cosine transform was rounded by `table`."""
    k = np.arange(8)
    cosines = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / 16) * np.where(k, 0.5, 0.5**1.5)[:, None]
    both = ops.convert_to_tensor(np.kron(cosines, cosines), "float32")  # of a block's 64 pixels in a row
    _, height, width, channels = planes.shape
    blocks = ops.reshape(planes, (-1, height // 8, 8, width // 8, 8, channels))
    blocks = ops.reshape(ops.transpose(blocks, (0, 5, 1, 3, 2, 4)), (-1, channels * height * width // 64, 64))
    table = ops.reshape(table, (-1, 1, 64))
    kept = ops.matmul(ops.round(ops.matmul(blocks, ops.transpose(both)) / table) * table, both)
    kept = ops.reshape(kept, (-1, channels, height // 8, width // 8, 8, 8))
    return ops.reshape(ops.transpose(kept, (0, 2, 4, 3, 5, 1)), (-1, height, width, channels))
