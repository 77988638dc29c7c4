"""What may be wrong with photos and masks: every defect by kind, with its severity and its remedy."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {  # severity, and what is said and what helps; the order in which they are told
    "list-unreadable": ("error", "lists that cannot be read", "Save them as UTF-8 text, one photo's name per line."),
    "list-repeats": ("error", "photos named more than once in a list", "Remove the repeated lines."),
    "list-overlap": (
        "error",
        "photos in more than one list",
        "Keep each in one list: what is measured on must be new.",
    ),
    "listed-absent": ("error", "listed, but photo or mask is not there", "Remove the lines, or add the files."),
    "no-mask": ("error", "photos without a mask", "Draw one (python -m keras_models.data label), or remove the photo."),
    "same-stem": ("error", "files of one stem, of which one is left out", "Rename or remove one of each."),
    "unreadable-photo": ("error", "photos that cannot be read", "Replace or remove them."),
    "truncated-photo": ("error", "photos that end too early: the rest is grey", "Copy them again, or remove them."),
    "unreadable-mask": ("error", "masks that cannot be read", "Export them again, or remove the photos."),
    "mask-size": ("error", "masks of another size than their photo", "Scale the mask to the photo, nearest neighbour."),
    "exif-rotation": (
        "error",
        "masks that lie as the camera's sensor did, photos turned upright by EXIF",
        "Turn the masks, or store the photos upright.",
    ),
    "mask-suffix": ("error", "masks in a format that blurs labels or is not read", "Store them as PNG."),
    "palette-mask": ("error", "foreground masks with a palette", "Store them grey: 0 background, 255 foreground."),
    "three-channel-mask": ("error", "masks of several channels", "Store one channel: grey, or a label per pixel."),
    "deep-mask": ("error", "masks of more than 8 bits per pixel", "Store 8 bits per pixel."),
    "zero-one-mask": ("error", "masks of 0 and 1 where 0 and 255 are expected", "Multiply them by 255."),
    "maybe-void-mask": (
        "error",
        "masks of 0, 1 and 255, which may be background, foreground and void",
        "If so, write a classes.txt with the lines background and person; else save them as 0 and 255.",
    ),
    "odd-labels": (
        "error",
        "masks with labels that are no class",
        "Name the classes in classes.txt, or mend the masks.",
    ),
    "void-mask": ("error", "masks that are void everywhere", "Draw them, or remove the photos."),
    "inverted-mask": ("error", "masks whose foreground looks like background", "Invert them."),
    "shifted-set": ("error", "masks shifted alike in most photos", "Find what moved them: a crop, a border, a resize."),
    "duplicate-across": (
        "error",
        "the same photo in several splits",
        "Keep it in one: what is measured on must be new.",
    ),
    "no-foreground": (
        "error",
        "splits without any foreground",
        "Draw the masks: nothing is learned or measured there.",
    ),
    "too-few": ("error", "splits with too few photos", "Ten photos are the least; hundreds teach something."),
    "similar-across": ("warning", "nearly the same photo in several splits", "Keep such photos in one split."),
    "duplicate": ("warning", "the same photo more than once", "Remove all but one."),
    "similar": ("warning", "nearly the same photo more than once", "Fine for bursts; else remove all but one."),
    "empty-mask": ("warning", "masks without foreground", "Fine where nobody is in the photo; else draw them."),
    "full-mask": ("warning", "masks that are foreground everywhere", "Look at them: such a mask teaches little."),
    "shifted-mask": ("warning", "masks whose outline fits the photo better elsewhere", "Look at them; draw them anew."),
    "grey-mask": ("warning", "masks with large areas of grey", "Above 127 is foreground; make clear what grey means."),
    "grey-photo": ("warning", "photos without colour", "Fine if the app sees such; they are read as RGB."),
    "cmyk-photo": ("warning", "photos in CMYK, made for print", "Store them as RGB: colours shift otherwise."),
    "small-photo": ("warning", "photos much smaller than the network's input", "Use larger ones; these are blown up."),
    "large-photo": ("warning", "photos of more than 24 million pixels", "Scale them down: reading them takes long."),
    "odd-shape": (
        "warning",
        "photos more than three times as long as wide",
        "Crop them: they are squeezed to the input.",
    ),
    "no-photo": ("warning", "masks without a photo, left out", "Add the photos, or remove the masks."),
    "unlisted": ("warning", "photos that no list names, left out", "Add them to a list."),
    "other-file": ("warning", "files that are no photos or masks here, left out", "Convert or remove them."),
    "absent-class": ("warning", "classes that a split never shows", "Add photos of them, or drop the class."),
    "rare-class": ("warning", "classes of less than a thousandth of the pixels", "Add photos, or weight the classes."),
}


@dataclass(frozen=True)
class Problem:
    """A kind of `KINDS`, and the files or names that show it."""

    kind: str
    files: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...] = ()  # of photos that are alike

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    @property
    def what(self) -> str:
        return KINDS[self.kind][1]

    @property
    def remedy(self) -> str:
        return KINDS[self.kind][2]
