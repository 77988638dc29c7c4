"""Reading photos and masks, and bringing them to a network's input size."""

from __future__ import annotations

import contextlib
import io
import stat
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from keras_models.command import UserError

HEIC_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", *HEIC_SUFFIXES)
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".mat")  # JPEG and the like blur the labels
VOID = 255  # the label of a pixel that counts in no loss and no metric
MAX_PIXELS = 100_000_000  # of a photo or mask: more takes a gigabyte to work on


def read_image(path: str | Path, data: bytes | None = None, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """RGB uint8 (height, width, 3), turned upright as its EXIF orientation says. UserError names an unreadable file.

    `data`: what the file holds, if it was read already. `flags`: OpenCV's, to decode a JPEG at a reduced size.
    """
    path = Path(path)
    data = read_bytes(path) if data is None else data
    if path.suffix.lower() in HEIC_SUFFIXES:
        return _read_heic(path, data)
    return cv2.cvtColor(_decode(path, data, flags), cv2.COLOR_BGR2RGB)


def _read_heic(path: Path, data: bytes) -> np.ndarray:
    try:
        import pillow_heif
    except ImportError as error:
        raise UserError(
            f"{path} is a HEIC photo. To read it: pip install pillow-heif; or export it as JPEG."
        ) from error
    try:
        photo = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        _refuse_huge(path, photo.size)
        return np.asarray(photo.to_pillow().convert("RGB"))
    except (ValueError, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no readable image: {error}. Export it as JPEG.") from error


def open_image(data: bytes) -> PIL.Image.Image:
    """An image's head: its size, mode and EXIF, no pixel yet. OSError, SyntaxError or ValueError for what is none."""
    if data[4:8] == b"ftyp":  # HEIC, if its reader is there
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
    return PIL.Image.open(io.BytesIO(data))


def _image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that an image says it has, before any pixel is read; None for a damaged head or PNG."""
    try:
        with open_image(data) as image:
            size = image.size
            if image.format == "PNG":
                image.verify()  # the checksums: OpenCV 4.14 reads some damaged ones for ever
            return size
    except PIL.Image.DecompressionBombError:
        return MAX_PIXELS, MAX_PIXELS
    except (OSError, SyntaxError, ValueError):
        return None


def read_bytes(path: str | Path) -> bytes:
    """What a file holds. UserError for a folder, a pipe, a link to nothing and whatever else cannot be read."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is no file, but a folder or a pipe. Remove it.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _refuse_huge(path: Path, size: tuple[int, int] | None) -> None:
    if size and size[0] * size[1] > MAX_PIXELS:
        shown = "hundreds of millions of pixels" if size == (MAX_PIXELS, MAX_PIXELS) else f"{size[0]}x{size[1]}"
        raise UserError(
            f"{path} is too large: {shown}, of at most {MAX_PIXELS // 10**6} million pixels. Scale it down, its mask "
            "alike."
        )


def read_binary_mask(path: str | Path) -> np.ndarray:
    """Labels uint8 (height, width), 1 where a grey mask is above 127.

    UserError names a mask that is unreadable, has a palette or three channels, or holds labels: 0, 1 and maybe 255.
    """
    if holds_labels(path):
        raise UserError(
            f"{path} holds labels, a palette's or MATLAB's, unlike the masks beside it. A foreground mask is one grey "
            "channel, background 0 and foreground 255. For several classes, list their names in classes.txt."
        )
    mask = read_mask(path)
    if 0 < mask.max() <= 1:
        raise UserError(f"{path} has the values 0 and 1. Multiply the mask by 255: background 0, foreground 255.")
    if may_hold_void(mask):
        raise UserError(
            f"{path} has the values 0, 1 and 255. If they mean background, foreground and void, write a classes.txt "
            f"beside {path.parent} with the lines background and person; else save it as 0 and 255."
        )
    return (mask > 127).astype(np.uint8)


def may_hold_void(mask: np.ndarray) -> bool:
    """Whether a grey mask holds 0, 1 and 255 alone: labels and void, or a foreground mask with a few odd pixels."""
    return bool((mask == 1).any()) and np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist() == [0, 1, 255]


def read_labels(path: str | Path, classes: int) -> np.ndarray:
    """Labels uint8 (height, width), 0 to `classes` - 1 or 255 for void, of a grey or palette PNG or a `.mat`.

    UserError names a mask that is unreadable, has colours instead of labels, or a label that is no class.
    """
    labels = read_mask(path)
    wrong = np.setdiff1d(labels, [*range(classes), VOID])
    if wrong.size:
        raise UserError(
            f"{path} holds the label(s) {', '.join(map(str, wrong[:5]))}; there are {classes} classes, 0 to "
            f"{classes - 1}, and 255 for void. Add the missing names to classes.txt, or correct the mask."
        )
    return labels


def holds_labels(path: str | Path) -> bool:
    """Whether a mask's kind says that its values are labels: a palette PNG or a MATLAB file."""
    path = Path(path)
    return path.suffix.lower() == ".mat" or _png_has_palette(path)


def read_mask(path: str | Path) -> np.ndarray:
    """The values uint8 (height, width) of a mask: grey, a palette's indices or a MATLAB file's. UserError names it."""
    path = Path(path)
    if path.suffix.lower() == ".mat":
        return read_mat(path)
    if _png_has_palette(path):
        return _read_palette_indices(path)
    mask = _decode(path, read_bytes(path), cv2.IMREAD_UNCHANGED)
    if mask.ndim == 3:
        raise UserError(
            f"{path} has {mask.shape[2]} channels. A mask is one channel: grey, 0 for background and 255 for "
            "foreground, or a label per pixel as grey or palette PNG."
        )
    if mask.dtype != np.uint8:
        raise UserError(f"{path} has {mask.dtype} pixels. Save the mask with 8 bits per pixel.")
    return mask


def read_mat(path: str | Path, variable: str | None = None) -> np.ndarray:
    """Labels uint8 (height, width) of a MATLAB file: of `variable`, or of the only two-dimensional one in it."""
    import scipy.io

    content_bytes = read_bytes(path)
    try:
        for _, shape, _ in scipy.io.whosmat(io.BytesIO(content_bytes)):
            _refuse_huge(Path(path), (shape[-1], int(np.prod(shape[:-1]))))
        content = scipy.io.loadmat(io.BytesIO(content_bytes))
    except UserError:
        raise
    except Exception as error:  # SciPy's reader follows a damaged file wherever it leads
        raise UserError(f"{path} is no MATLAB file that SciPy reads: {error}") from error
    arrays = {k: v for k, v in content.items() if not k.startswith("__") and getattr(v, "ndim", 0) == 2}
    if variable is None and len(arrays) == 1:
        variable = next(iter(arrays))
    if variable not in arrays or arrays[variable].dtype.kind not in "iuf":
        raise UserError(
            f"{path} has no array of labels {variable or ''}; expected one variable (height, width). Found: "
            f"{', '.join(arrays) or 'none'}"
        )
    labels = arrays[variable].astype(np.uint8)
    wrong = arrays[variable][labels != arrays[variable]]
    if wrong.size:
        raise UserError(f"{path} holds the label {wrong.flat[0]:g}. Labels are whole numbers from 0 to 255.")
    return labels


def _read_palette_indices(path: Path) -> np.ndarray:
    """The indices of a palette image: OpenCV would turn them into colours."""
    data = read_bytes(path)
    _refuse_huge(path, _image_size(data))
    try:
        with open_image(data) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is a damaged PNG: {error}. Export it again.") from error


def _decode(path: Path, data: bytes, flags: int) -> np.ndarray:
    size = _image_size(data)
    _refuse_huge(path, size)
    try:  # without a head that says its size, OpenCV would believe whatever the rest says
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if size else None
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path} is no readable image ({len(data)} bytes). Remove it from the list or replace it.")
    return image


def _png_has_palette(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        return False  # whoever reads it says why
    return header.startswith(b"\x89PNG") and header[25:26] == b"\x03"


def prepare_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image` (height, width, 3) at a network's input `size` (height, width), bilinear, whatever its aspect ratio.

    This is the published protocol of the portrait networks, and the one definition that training, evaluation,
    calibration and prediction share.
    """
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def prepare_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (height, width) at `size`, nearest neighbour."""
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
