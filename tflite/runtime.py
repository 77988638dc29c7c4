"""Run a converted segmentation network with numpy, OpenCV and one interpreter: no TensorFlow, no Keras.

Copy this file, a `.tflite` and its spec to a Raspberry Pi and it works:

    segmenter = Segmenter("extremec3-eg1800-int8.tflite")
    person = segmenter.probabilities(image)[..., 1] > 0.5     # image: RGB uint8 of any size

The spec is a JSON file with the same stem, written by the converter and read by Python and Android alike:

    format          1
    name            what people call the model; `network` and `paper` say what it is
    description, author, licence    for people; the file's own metadata (metadata.py) says the same
    input           height, width, channels (3), color_order ("RGB"), dtype ("uint8", "int8" or "float32"), and scale
                    and zero_point: the real value (stored - zero_point) * scale is the pixel's byte / 255
    output          height, width, classes (of the tensor; 1 is the foreground's logit alone), dtype, scale, zero_point,
                    kind, one of "logits", "probabilities" and "labels" (uint8, one class number per pixel), and
                    activation, what makes probabilities of logits: "sigmoid" or "softmax"
    labels, colors  a name and an RGB colour per class, background first: two of each for a network with one logit
    target          what an integer model is laid out for (convert.py --target): "any" or "accelerator"; optional
    fill_contours   whether what the foreground encloses becomes foreground: in all its regions (true or "all") or
                    in the "largest"; optional, false
    smoothing       of videos: the share of the previous mask that stays where the picture is still, 0 (none) to below
                    1; optional, 0.8 (docs/convert.md says how it is computed)
    threshold       the foreground's probability above which a pixel is foreground (one logit)
    accuracy        what was measured when the model was verified, or null
    calibration     the photos that set the ranges: count, names and the sha256 of their list; null if none were needed
    versions        of the packages that made the file
    sha256          of the .tflite; weights_sha256 of the network that it was made from
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

KINDS = ("logits", "probabilities", "labels")
FILLS = ("all", "largest")  # in which regions of the foreground `fill_contours` fills
SURE = 30.0  # the logit that stands for a label: its probability is 1 in float32
INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite.python.interpreter")


class ModelError(ValueError):
    """A model or spec that cannot be used; the message names the file and the remedy."""

    for_people = True  # a command shows it as one line


def load_interpreter(path: str | Path, threads: int = 1, delegates: bool = True, keep_tensors: bool = False):
    """An interpreter with its tensors allocated, from the first of `INTERPRETERS` that is installed.

    `delegates=False` leaves XNNPACK away; `keep_tensors` lets every operation's result be read. Raises ModelError for a
    file that is missing, damaged or no TFLite model.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror}.") from error
    if content[4:8] != b"TFL3":
        raise ModelError(
            f"{path} is no TFLite model ({len(content)} bytes). Expected a .tflite that a converter wrote."
        )
    module = interpreter_module()
    options = {}
    if not delegates:
        resolvers = getattr(module, "OpResolverType", None) or module.experimental.OpResolverType
        options["experimental_op_resolver_type"] = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        if keep_tensors:
            options["experimental_preserve_all_tensors"] = True
        interpreter = module.Interpreter(model_content=content, num_threads=threads, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged or needs operations that are not there: {error}") from error
    return interpreter


def interpreter_module():
    """The first of the `INTERPRETERS` that is installed, imported. ModelError when none is."""
    for name in INTERPRETERS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ModelError("No TFLite interpreter is installed. Run: pip install ai-edge-litert")


def read_spec(path: str | Path) -> dict | None:
    """The spec beside a `.tflite`, or None when there is none.

    ModelError when it belongs to another file, or a field that is read here or by an app is missing or no such value.
    """
    path = Path(path)
    spec_path = path.with_suffix(".json")
    if not spec_path.is_file():
        return None
    try:
        spec = json.loads(spec_path.read_text(encoding="utf-8"))
        expected = spec["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{spec_path} is no spec of a model: {error!r}. Convert the network again.") from error
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ModelError(f"{spec_path} describes another file than {path}: the sha256 differs. Copy both again.")
    _check_spec(spec, spec_path)
    kind, own = spec["output"]["kind"], [kind for kind in KINDS if told(kind).encode() in content]
    if own and kind not in own:
        raise ModelError(
            f"{spec_path} says that the model gives {kind}; {path} itself says {own[0]}. Convert the network again."
        )
    return spec


def told(kind: str) -> str:
    """How a file's own metadata (metadata.py) says what it gives, one of `KINDS`.

    Values do not tell: an untrained network's logits may lie between 0 and 1, and then pass for probabilities.
    """
    return f"{kind.capitalize()} of each pixel: "


def _whole(value) -> bool:
    return type(value) is int


def _number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _color(value) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_whole(part) and 0 <= part <= 255 for part in value)


def _check_spec(spec: dict, path: Path) -> None:
    """ModelError for the first field that is not what this file's docstring says."""

    def require(field: str, good: Callable, expected: str):
        value = spec
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not good(value):
            shown = "nothing" if value is None else repr(value)[:60]
            raise ModelError(f"{path} says of {field}: {shown}; expected {expected}. Convert the network again.")
        return value

    require("format", lambda v: v == 1, "1: another version of this file reads others")
    for end, channels in (("input", "channels"), ("output", "classes")):
        require(end, lambda v: isinstance(v, dict), "an object")
        for side in ("height", "width", channels):
            require(f"{end}.{side}", lambda v: _whole(v) and v > 0, "a whole number above 0")
        require(f"{end}.dtype", lambda v: isinstance(v, str), "the name of a type")
        require(f"{end}.scale", lambda v: _number(v) and v > 0, "a number above 0")
        require(f"{end}.zero_point", _whole, "a whole number")
    require("input.color_order", lambda v: v == "RGB", "RGB")
    classes = spec["output"]["classes"]
    kind = require("output.kind", lambda v: v in KINDS, f"one of {', '.join(KINDS)}")
    counts = range(2, 257) if kind == "labels" else [max(2, classes)]
    names = require(
        "labels",
        lambda v: isinstance(v, list) and len(v) in counts and all(isinstance(name, str) for name in v),
        f"{counts[0]}{' to 256' if len(counts) > 1 else ''} names",
    )
    # Labels of two classes are the same by both.
    single = len(names) == 2 if kind == "labels" else classes == 1
    activations = (["sigmoid"] if single else []) + (["softmax"] if not single or kind == "labels" else [])
    require("output.activation", lambda v: v in activations, " or ".join(activations))
    count = min(len(names), 256)
    require(
        "colors",
        lambda v: isinstance(v, list) and len(v) == count and all(map(_color, v)),
        f"{count} colours of three whole numbers, 0 to 255",
    )
    require("threshold", lambda v: _number(v) and 0 < v < 1, "a number between 0 and 1")
    require("smoothing", lambda v: v is None or (_number(v) and 0 <= v < 1), "a number from 0 to below 1")
    fills = (None, *FILLS)
    require("fill_contours", lambda v: isinstance(v, bool) or v in fills, "false, true, all or largest")


def require_writable(*paths: str | Path | None) -> None:
    """ModelError for the first path that no file can be written to: to be called before the work whose result it is."""
    for path in (Path(path) for path in paths if path is not None):
        folder = path.absolute().parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ModelError(
                f"Cannot write {path}: it must be a file, in a folder that is there and may be written to."
            )
        if path.suffix == ".tflite" or (path.suffix == ".json" and path.with_suffix(".tflite").is_file()):
            raise ModelError(f"Cannot write {path}: it is the place of a model or its spec. Choose another name.")


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all. ModelError when it cannot be written (no permission, a full disk)."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def run(main: Callable[[], int]) -> int:
    """The exit status of a command, as keras_models.command.run has it, which a device need not have.

    What `main` returns; 2 after one line for a model that cannot be used and for what the system refuses (no file, a
    full disk, also behind standard output); 1 where nobody reads on, as behind `| head -1`.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a name in letters that the terminal does not know ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            status = main()
        except SystemExit as error:  # argparse's, after --help and mistakes
            status = error.code
        sys.stdout.flush()  # while an error can still be told
        return status
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # what is left in its buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1
        print(f"error: {error.strerror or error}: {error.filename or 'standard output'}", file=sys.stderr)
        return 2


def stored(values: np.ndarray, tensor: dict) -> np.ndarray:
    """float32 `values` as a `tensor` (an interpreter's details of it) holds them: rounded to its grid and type."""
    dtype = np.dtype(tensor["dtype"])
    if dtype == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def real(values: np.ndarray, tensor: dict) -> np.ndarray:
    """What a tensor holds as float32; labels, which have no scale, as their numbers."""
    if values.dtype == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale or 1)


def fill_contours(probabilities: np.ndarray, threshold: float, regions: str = "all") -> None:
    """Take the background from the pixels of `probabilities` (height, width, classes) that the foreground encloses.

    Inside are pixels whose foreground has at least `threshold`. `regions`: `all`, or the `largest`, whose contour
    encloses the most. The array is changed.
    """
    inside = (1 - probabilities[..., 0] >= threshold).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if regions == "largest":
        contours = sorted(contours, key=cv2.contourArea)[-1:]
    holes = cv2.drawContours(inside.copy(), contours, -1, 1, cv2.FILLED) > inside
    others = probabilities[holes, 1:] + 1e-7  # all may be 0
    probabilities[holes, 0] = 0
    probabilities[holes, 1:] = others / others.sum(axis=-1, keepdims=True)


class Segmenter:
    """One converted network, ready to run. Not for use from several threads at once.

    `input_size` is (height, width); `spec` is the file's spec, or None. Raises ModelError for a model or spec that is
    damaged, has another shape than a segmentation network, or does not fit the other.
    """

    def __init__(self, path: str | Path, threads: int = 1, delegates: bool = True):
        self.path = Path(path)
        self._interpreter = load_interpreter(path, threads, delegates)
        self.spec = read_spec(path)
        self.kind = self.spec["output"]["kind"] if self.spec else "logits"
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each.")
        self._input, self._output = inputs[0], outputs[0]
        for kind, details in (("input", self._input), ("output", self._output)):
            if len(details["shape"]) != 4 or -1 in details.get("shape_signature", ()) or details["shape"][0] != 1:
                shape = [int(side) for side in details.get("shape_signature", details["shape"])]
                raise ModelError(
                    f"{path} has the {kind} shape {shape}; expected a static (1, height, width, channels)."
                )
        if self._input["shape"][3] != 3:
            raise ModelError(f"{path} takes {self._input['shape'][3]} channels; expected 3 (RGB).")
        self.input_size = tuple(int(side) for side in self._input["shape"][1:3])
        if self.spec:
            self._compare_with_spec()

    def _compare_with_spec(self) -> None:
        for kind, details, channels in (("input", self._input, "channels"), ("output", self._output, "classes")):
            described = self.spec[kind]
            expected = [1, described["height"], described["width"], described[channels]]
            found = [int(side) for side in details["shape"]]
            if found != expected or np.dtype(details["dtype"]).name != described["dtype"]:
                raise ModelError(
                    f"{self.path} has the {kind} {found} {np.dtype(details['dtype']).name}, its spec says {expected} "
                    f"{described['dtype']}. Convert the network again."
                )
            scale, zero_point = details["quantization"]
            if not math.isclose(described["scale"], scale or 1, rel_tol=1e-6) or described["zero_point"] != zero_point:
                raise ModelError(
                    f"{self.path} has the {kind} scale {scale or 1} and zero point {zero_point}, its spec says "
                    f"{described['scale']} and {described['zero_point']}. Convert the network again."
                )

    @property
    def classes(self) -> tuple[tuple[str, ...], list[list[int]]]:
        """Names and RGB colours of the classes as the spec has them; numbered and grey without one."""
        if self.spec:
            return tuple(self.spec["labels"]), self.spec["colors"]
        count = max(2, int(self._output["shape"][3]))
        return tuple(f"class {i}" for i in range(count)), [[255 * i // (count - 1)] * 3 for i in range(count)]

    @property
    def smoothing(self) -> float | None:
        """The spec's share of the previous mask in a video, or None: `logits` and all others see each picture alone."""
        return self.spec.get("smoothing") if self.spec else None

    @property
    def fill(self) -> str | None:
        """In which regions the spec asks for filled contours: `probabilities` and `labels` have them, `logits` not."""
        asked = self.spec and self.spec.get("fill_contours")
        return "all" if asked is True else asked or None

    @property
    def threshold(self) -> float | None:
        """The probability above which a pixel is foreground; None for networks with a channel for each class."""
        if self.kind == "labels" or self._output["shape"][3] > 1:
            return None
        return float(self.spec["threshold"]) if self.spec else 0.5

    def logits(self, image: np.ndarray) -> np.ndarray:
        """float32 (h, w, classes) at the network's output size, of RGB uint8 (height, width, 3) of any size.

        Of a model that gives probabilities these are their logarithms (its odds' for one class), of one that gives
        labels plus or minus `SURE`: both have the probabilities and labels that the model gave.
        """
        output = self.output(image)
        if self.kind == "logits":
            return output
        sigmoid = self.spec["output"]["activation"] == "sigmoid"
        if self.kind == "labels":
            chosen = output if sigmoid else output == np.arange(len(self.spec["labels"]))
            return np.where(chosen, SURE, -SURE).astype(np.float32)
        likely = np.clip(output, np.exp(-SURE), None)
        return np.log(likely) - np.log(np.clip(1 - output, np.exp(-SURE), None)) if sigmoid else np.log(likely)

    def output(self, image: np.ndarray) -> np.ndarray:
        """float32 (h, w, channels): what the network gives, of the kind that its spec says, as real values.

        ModelError when the values cannot be of that kind, or are no numbers.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"Expected RGB uint8 (height, width, 3). Received: {image.dtype} {image.shape}")
        height, width = self.input_size
        if image.shape[:2] != self.input_size:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        values = stored(image.astype(np.float32) / 255, self._input)
        self._interpreter.set_tensor(self._input["index"], values[None])
        self._interpreter.invoke()
        found = real(self._interpreter.get_tensor(self._output["index"])[0], self._output)
        self._check_values(float(found.min()), float(found.max()))
        return found

    def _check_values(self, least: float, most: float) -> None:
        """ModelError for values between `least` and `most` that are no numbers, or not what the spec promises."""
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ModelError(
                f"{self.path} gives values that are no numbers (NaN or infinite). Convert a sound network."
            )
        limits = {"probabilities": 1.001, "labels": len(self.spec["labels"]) - 1 if self.spec else 255}
        if self.kind in limits and not -0.001 <= least <= most <= limits[self.kind]:
            raise ModelError(
                f"{self.path.with_suffix('.json')} says that the model gives {self.kind}; it gives values from "
                f"{least:.3g} to {most:.3g}. Convert the network again."
            )

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """float32 (height, width, classes) at the size of `image`, background first; one logit becomes two classes."""
        logits = self.logits(image)
        if logits.shape[-1] == 1:
            person = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
            small = np.concatenate([1 - person, person], axis=-1)
        else:
            exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
            small = exponent / exponent.sum(axis=-1, keepdims=True)
        if self.fill:
            fill_contours(small, self.spec["threshold"], self.fill)
        return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(*image.shape[:2], -1)

    def labels(self, image: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel: uint8 (above 256 classes uint16) (height, width), as large as `image`.

        Of a network with one logit it is the foreground where that is more probable than the spec's threshold.
        """
        probabilities = self.probabilities(image)
        if self.threshold is None:
            return probabilities.argmax(axis=-1).astype(np.min_scalar_type(probabilities.shape[-1] - 1))
        return (probabilities[..., 1] > self.threshold).astype(np.uint8)
