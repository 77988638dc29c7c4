"""Augmentation of a photo and its labels together, in numpy and OpenCV: one warp, then colour, blur and noise.

The defaults are the ones of the ExtremeC3Net and PortraitNet code: what PortraitNet calls deformation (turned, scaled,
moved, mirrored) and texture (colour, blur, noise).
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import cv2
import numpy as np

from keras_models import command
from keras_models.command import UserError, option
from keras_models.data import compose, light

_RANGES = {  # least and greatest value of each number that is no flag
    "probability": (0, 1),
    **dict.fromkeys(("saturation", "brightness", "contrast", "sharpness"), (0, 10)),
    "paste": (0, 1),
    "paste_scale": (0.01, 100),
    "paste_softness": (0, 100),
    **dict.fromkeys(("gamma", "temperature"), (0, 4)),
    "shadow": (0, 1),
    "jpeg": (1, 100),
    "motion_blur": (0, 100),
    "downscale": (0.01, 1),
}

PEOPLE = (0.7, 0.2, 0.1)  # chances of one, two and three pasted photos
KINDS = {  # the numbers of each kind of change, by which `Augmentation.only` keeps one
    "deformation": ("rotation_degrees", "scale", "shift", "stretch", "flip"),
    "texture": ("saturation", "brightness", "contrast", "sharpness", "blur", "noise"),
    "people pasted": ("paste", "paste_scale", "paste_softness"),
    "light": ("gamma", "temperature"),
    "shadow": ("shadow",),
    "motion blur": ("motion_blur",),
    "downscaling": ("downscale",),
    "JPEG": ("jpeg",),
}


@dataclass(frozen=True)
class Augmentation:
    """How far a photo is changed. A pair is the range that a factor is drawn from; 1 is the photo as it is.

    rotation_degrees: both ways. scale: of the size that fills the input. shift: fraction of the input's side, both
    ways. stretch: of the aspect ratio, both ways (0.2: up to a fifth wider or narrower). Each of colour, blur and noise
    happens with `probability`. noise: the largest standard deviation, in grey values of 0-255. outside: the label of
    what the warp brings in from outside the photo: 0 is background, 255 counts for nothing. mirrored: pairs of labels
    that change places when the photo is flipped, as the left and the right arm.

    paste: probability that people of one to three other photos are pasted in, `paste_scale` times as large as there,
    with an edge softened by up to `paste_softness` pixels; photos without foreground get them three times as often.
    gamma and temperature: of the light, as exponents of 2 both ways. shadow: the largest share of the light that a
    shadow takes. jpeg: lowest and highest quality. motion_blur: most pixels. downscale: smallest factor of the
    resolution. Each of those happens with half the `probability`; at the default it never does.
    """

    rotation_degrees: float = option(45, least=0, most=180, help="augmentation: largest rotation")
    scale: tuple[float, ...] = option(
        (0.5, 1.5), above=0, most=8, metavar="LOW,HIGH", help="augmentation: smallest and largest scale, as 0.5,1.5"
    )
    shift: float = option(0.25, least=0, most=1, help="augmentation: largest shift, as a fraction of the input's side")
    stretch: float = option(0.0, least=0, most=4, help="augmentation: largest change of the aspect ratio")
    flip: bool = True
    probability: float = 0.5
    saturation: tuple[float, float] = (0.4, 1.6)
    brightness: tuple[float, float] = (0.4, 1.6)
    contrast: tuple[float, float] = (0.6, 1.4)
    sharpness: tuple[float, float] = (0.8, 1.2)
    blur: tuple[int, ...] = (3, 5)
    noise: float = option(10, least=0, most=255, help="augmentation: largest deviation of the noise, in grey values")
    outside: int = 0
    mirrored: tuple[tuple[int, int], ...] = ()
    paste: float = 0.0
    paste_scale: tuple[float, float] = (0.35, 1.2)
    paste_softness: float = 0.8
    gamma: float = 0.0
    temperature: float = 0.0
    shadow: float = 0.0
    jpeg: tuple[int, int] = (100, 100)
    motion_blur: int = 0
    downscale: float = 1.0

    def __post_init__(self):
        command.check(self)
        if len(self.scale) != 2 or self.scale[0] > self.scale[1]:
            raise UserError(f"--scale takes the smallest and the largest scale, as 0.5,1.5. Received: {self.scale}")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(number, int | float) and least <= number <= most for number in numbers):
                raise UserError(f"Augmentation's {name} is from {least} to {most}. Received: {value}")
            if isinstance(getattr(type(self), name), tuple) and not (len(numbers) == 2 and numbers[0] <= numbers[1]):
                raise UserError(f"Augmentation's {name} is two numbers, the smaller one first. Received: {value}")
        if any(size < 1 or size % 2 == 0 for size in self.blur):
            raise UserError(f"Augmentation's blur is odd numbers of pixels. Received: {self.blur}")

    @property
    def zoom(self) -> float:
        """The largest factor between a photo that fills the input and what is cut out of it."""
        return max(self.scale) * (1 + self.stretch) ** 0.5

    def __call__(self, image, labels, size: tuple[int, int], rng: np.random.Generator):
        """RGB uint8 and labels uint8 at `size` (height, width): one random warp of both, then the image's colours."""
        image, labels = self.warp(image, labels, size, rng)
        return self.recolour(image, rng), labels

    def recolour(self, image, rng: np.random.Generator):
        """RGB uint8 with other colours, blur and noise: what moves no edge."""
        if rng.random() < self.probability:
            image = self._colour(image, rng)
        if self.blur and rng.random() < self.probability:
            image = self._blur(image, rng)
        image = self._camera(image, rng)
        if self.noise and rng.random() < self.probability:
            cv2.setRNGSeed(int(rng.integers(2**31)))  # this thread's alone
            noise = cv2.randn(np.empty(image.shape, np.int16), (0,) * 4, (rng.uniform(0, self.noise),) * 4)
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        return image

    def warp(self, image, labels, size: tuple[int, int], rng: np.random.Generator):
        """RGB uint8 and labels uint8 at `size` (height, width), turned, scaled, moved and mirrored alike."""
        (matrix,), (flipped,) = self.matrices(image.shape[:2], size, rng)
        labels = self._exchange(labels) if flipped else labels
        height, width = size
        grey = (128, 128, 128)
        image = cv2.warpAffine(image, matrix[:2], (width, height), flags=cv2.INTER_LINEAR, borderValue=grey)
        labels = cv2.warpAffine(labels, matrix[:2], (width, height), flags=cv2.INTER_NEAREST, borderValue=self.outside)
        return image, labels

    def matrices(
        self, shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator, count: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where pixels (x, y) of photos of `shape` go in ones of `size`: (count, 3, 3); and (count,), which mirrors."""
        (rows, columns), (height, width) = shape, size
        flipped = rng.random(count) < 0.5 if self.flip else np.zeros(count, bool)
        stretch = np.exp(rng.uniform(-1, 1, count) * np.log1p(self.stretch) / 2)
        scale = np.exp(rng.uniform(*np.log(self.scale), count))
        angle = np.radians(rng.uniform(-1, 1, count) * self.rotation_degrees)
        shift = rng.uniform(-1, 1, (count, 2)) * self.shift
        # A pixel's centre lies half a pixel inside the photo: without that a flip moves everything by one pixel.
        centred = np.diag([width / columns, height / rows, 1]) @ [
            [1, 0, (1 - columns) / 2],
            [0, 1, (1 - rows) / 2],
            [0, 0, 1],
        ]
        scaled = np.zeros((count, 3, 3))
        scaled[:, 0, 0], scaled[:, 1, 1] = np.where(flipped, -1, 1) * scale * stretch, scale / stretch
        scaled[:, 2, 2] = 1
        turned = np.zeros((count, 3, 3))
        turned[:, 0, 0] = turned[:, 1, 1] = np.cos(angle)
        turned[:, 0, 1], turned[:, 1, 0] = -np.sin(angle), np.sin(angle)
        turned[:, 0, 2], turned[:, 1, 2] = width * (0.5 + shift[:, 0]) - 0.5, height * (0.5 + shift[:, 1]) - 0.5
        turned[:, 2, 2] = 1
        return turned @ scaled @ centred, flipped

    def compose(self, image, labels, others, size: tuple[int, int], rng: np.random.Generator):
        """The photo with people of others pasted in; `others()` draws a pair of photo and labels."""
        chance = self.paste if labels.any() else 3 * self.paste
        if not chance or rng.random() >= chance:
            return image, labels
        for _ in range(rng.choice((1, 2, 3), p=PEOPLE)):
            other, other_labels = self.pasted.warp(*others(), size, rng)
            softness = rng.uniform(0.3, 1) * self.paste_softness
            image, labels = compose.paste(image, labels, other, other_labels, softness)
        return image, labels

    def only(self, kind: str) -> Augmentation | None:
        """One of `KINDS` alone, every time; None where this augmentation has nothing of it."""
        kept = {name: getattr(self, name) for name in KINDS[kind]}
        alone = dataclasses.replace(NOTHING, **kept)
        if alone == NOTHING or (kind == "people pasted" and not self.paste):
            return None
        always = {"paste": 1.0} if "paste" in kept else {}
        return dataclasses.replace(alone, probability=1.0, outside=self.outside, mirrored=self.mirrored, **always)

    @functools.cached_property
    def pasted(self) -> Augmentation:
        """How those are moved who are pasted in."""
        return dataclasses.replace(self, scale=self.paste_scale, shift=max(self.shift, 0.35), outside=0)

    def _camera(self, image, rng):
        chance = self.probability / 2
        if (self.gamma or self.temperature) and rng.random() < 2 * chance:
            gamma, warmth = (2 ** rng.uniform(-reach, reach) for reach in (self.gamma, self.temperature))
            image = light.tone(image, gamma, warmth)
        if self.shadow and rng.random() < chance:
            darkest, place, width = 1 - rng.uniform(0, self.shadow), rng.uniform(0.2, 0.8), rng.uniform(0.02, 0.5)
            image = light.shade(image, darkest, rng.uniform(0, 2 * np.pi), place, width)
        if self.motion_blur > 1 and rng.random() < chance:
            image = light.motion_blur(image, int(rng.integers(2, self.motion_blur + 1)), rng.uniform(0, np.pi))
        if self.downscale < 1 and rng.random() < chance:
            image = light.downscale(image, rng.uniform(self.downscale, 1))
        if min(self.jpeg) < 100 and rng.random() < chance:
            image = light.jpeg(image, int(rng.integers(self.jpeg[0], self.jpeg[1] + 1)))
        return image

    def _exchange(self, labels):
        exchanged = labels.copy()
        for left, right in self.mirrored:
            exchanged[labels == left], exchanged[labels == right] = right, left
        return exchanged

    def _colour(self, image, rng):
        saturation, brightness, contrast, sharpness = (
            rng.uniform(*limits) for limits in (self.saturation, self.brightness, self.contrast, self.sharpness)
        )
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        gain, mean = brightness * contrast, cv2.mean(grey)[0] * brightness
        grey = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, gain * saturation, grey, gain * (1 - saturation), mean * (1 - contrast))
        return cv2.addWeighted(image, sharpness, cv2.blur(image, (3, 3)), 1 - sharpness, 0)

    def _blur(self, image, rng):
        size = int(rng.choice(self.blur))
        kind = rng.integers(3)
        if kind == 0:
            return cv2.GaussianBlur(image, (size, size), 0)
        return cv2.medianBlur(image, size) if kind == 1 else cv2.blur(image, (size, size))


_SAME = dict.fromkeys(("scale", "saturation", "brightness", "contrast", "sharpness"), (1.0, 1.0))
NOTHING = Augmentation(rotation_degrees=0, shift=0.0, flip=False, probability=0.0, blur=(), noise=0, **_SAME)
