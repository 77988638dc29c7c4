"""Models by name: a preset, a run folder, a `.keras` or a `.tflite` file, found, loaded, and behind one call.

A preset's folder in `presets/` holds `model.keras`, `card.json`, and the converted `NAME-int8.tflite` with its spec.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_models import registry
from keras_models.command import UserError
from keras_models.pictures import palette

if TYPE_CHECKING:
    import keras

LARGEST = 4 << 30  # bytes of a `.keras` file's parts, unpacked, and of what one of its layers gives for a photo
_OTHER_PRECISIONS = ("float16", "bfloat16", "float64")
_FOLDER = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/model.keras"))


def is_shipped(file: str | Path) -> bool:
    """Whether a file belongs to a preset that comes with the package: no command writes there."""
    return Path(file).resolve().parent.parent == _FOLDER.resolve()


def find(source: str | Path) -> Path:
    """The `.keras` file of a preset's name, a run folder or a `.keras` file. UserError says what was expected."""
    path = Path(source)
    if str(source) in preset_names():
        return _FOLDER / str(source) / "model.keras"
    if path.is_dir():
        if (path / "model.keras").is_file():
            return path / "model.keras"
        raise UserError(f"{path} holds no model.keras. A run folder has one when its training has finished an epoch.")
    if path.suffix == ".keras" and path.is_file():
        return path
    raise UserError(
        f"There is no model {str(source)!r}. Give a preset ({', '.join(preset_names()) or 'none yet'}), a run folder "
        "or a .keras file."
    )


def card(source: str | Path) -> dict:
    """What the card.json beside a model says, nothing without one; `source` as for `predictor`, and its UserError."""
    path = Path(source) if Path(source).suffix == ".tflite" else find(source)
    return record(path.parent, "card.json")


def record(folder: str | Path, name: str) -> dict:
    """What run.json or card.json, by `name`, says in a model's folder, if it is there. UserError when it is damaged."""
    path = Path(folder) / name
    if not path.is_file():
        return {}
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong inside with what the run.json or card.json at `path` says is a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!r}. Mend it, or move the model away from it.") from error


def require_same_order(one: str, names: Sequence[str], other: str, others: Sequence[str]) -> None:
    """UserError when a class of both lists stands for another label in each; `one` and `other` say whose they are."""
    for label, name in enumerate(names):
        if name in others and others.index(name) != label:
            raise UserError(
                f"{name} is label {label} of {one} and {others.index(name)} of {other}: the classes stand in another "
                f"order. {one}: {', '.join(names)}; {other}: {', '.join(others)}."
            )


def load(source: str | Path, input_size: tuple[int, int] | None = None) -> keras.Model:
    """The network of a preset's name, a run folder or a `.keras` file, not compiled.

    It computes in float32, whatever it was saved with: less is for training. `input_size`: the same weights for photos
    of another height and width; UserError where the layers cannot take those.
    UserError for a file that is damaged, larger than `LARGEST`, holds code, or asks for more weights than it has, and
    for weights that are no numbers.
    """
    import keras

    importlib.import_module("keras_models.layers")  # its layers, for Keras to read
    path = find(source)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} {_what_is_no_archive(path)}") from error
    if size > LARGEST:
        raise UserError(f"{path} would unpack to {size / 2**30:.0f} GiB; {LARGEST >> 30} GiB is the limit.")
    most = min(size, 1032 * path.stat().st_size)  # a weight has a byte at least, and zip packs a thousand into one
    try:
        with _weights_counted(most) as weights:
            model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        if sum(weights) > most:
            raise UserError(
                f"{path} asks for {sum(weights):,} weights, far more than it holds: it is damaged."
            ) from None
        reason = str(error).splitlines()[0]
        if "Lambda" in str(error):
            reason = "it holds Python code (a Lambda layer), which is never run. Save the model without Lambda layers."
        raise UserError(f"{path} is no model that Keras can read: {reason}") from error
    if (largest := 4 * _largest_value(model)) > LARGEST:
        raise UserError(f"{path} computes values of {largest >> 30} GiB for one photo; {LARGEST >> 30} is the limit.")
    broken = [weight.path for weight in model.weights if not np.isfinite(keras.ops.convert_to_numpy(weight)).all()]
    if broken:
        raise UserError(
            f"{path} holds weights that are no numbers (NaN or infinite), in {broken[0]} first: retrain it."
        )
    odd = next((layer for layer in model._flatten_layers() if layer.compute_dtype in _OTHER_PRECISIONS), None)
    if odd is not None:
        try:
            model = copy(model, "float32")
        except Exception as error:
            raise UserError(
                f"{path} computes in {odd.compute_dtype} and cannot be built in float32: "
                f"{str(error).splitlines()[0]} Save it with the policy float32."
            ) from error
    if input_size is None or tuple(model.inputs[0].shape[1:3]) == tuple(input_size):
        return model
    return _resized(model, path, input_size)


def _resized(model: keras.Model, path: Path, size: tuple[int, int]) -> keras.Model:
    """`model` for photos of `size` (height, width)."""
    from keras_models import registry

    require_segmenter(model, path)
    before, after = model.input_shape[1:3], model.output_shape[1:3]
    try:
        if model.name in registry.names():
            registry.network(model.name).check_input_size(size)
        made = copy(model, "float32", size)
    except Exception as error:  # whatever a layer says to a shape that it was not made for
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{path} cannot take photos of {size[0]}x{size[1]}: {reason}") from error
    wanted = tuple(round(out * new / old) for out, new, old in zip(after, size, before, strict=True))
    if made.output_shape[1:3] != wanted:
        raise UserError(f"{path} cannot take photos of {size[0]}x{size[1]}: a layer of it has a size of its own.")
    return made


@contextlib.contextmanager
def _weights_counted(most: int) -> Iterator[list[int]]:
    """Yields a list of the numbers of weights that layers make while it lasts; they raise rather than exceed `most`.

    Keras makes the weights that a file's config.json asks for, at random, before it looks at those that are there.
    """
    import keras

    add_weight, counts = keras.layers.Layer.add_weight, []

    def counted(self, *arguments, **options):
        shape = next((v for v in (options.get("shape"), *arguments) if isinstance(v, tuple | list | int)), ())
        counts.append(math.prod([shape] if isinstance(shape, int) else shape))
        if sum(counts) > most:
            raise MemoryError("more weights than the file has")
        return add_weight(self, *arguments, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield counts
    finally:
        keras.layers.Layer.add_weight = add_weight


def _largest_value(model: keras.Model) -> int:
    """How many numbers the largest value has that `model` computes for one photo, nested models' too."""
    graphs = (getattr(layer, "_functional", None) or layer for layer in (model, *model._flatten_layers()))
    nodes = (node for graph in graphs for each in getattr(graph, "operations", ()) for node in each._inbound_nodes)
    return max((math.prod(side or 1 for side in t.shape) for node in nodes for t in node.output_tensors), default=0)


def copy(
    model: keras.Model,
    precision: str,
    input_size: tuple[int, int] | None = None,
    kinds: dict[type, type] | None = None,
) -> keras.Model:
    """A functional model of the same layers and weights, the latter its own, that computes in `precision`.

    `precision` is the name of one of Keras' dtype policies. `input_size`: height and width of another input. `kinds`:
    layers with the same options and weights that take the place of others. Raises what Keras does for a model that
    cannot be cloned.
    """
    import keras

    policy = keras.DTypePolicy(precision)

    def layer_of(layer):
        chosen = {"dtype": policy} if isinstance(layer, keras.Layer) else {}  # not for an operation of `keras.ops`
        return (kinds or {}).get(layer.__class__, layer.__class__).from_config(layer.get_config() | chosen)

    image = None
    if input_size:
        image = keras.Input((*input_size, model.input_shape[-1]), dtype=model.inputs[0].dtype, name=model.input.name)
    made = keras.models.clone_model(model, image, clone_function=layer_of, recursive=True)
    made.set_weights(model.get_weights())
    return made


def _what_is_no_archive(path: Path) -> str:
    """What is wrong with a `.keras` file that is no whole zip archive."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    if not head:
        return "is empty (0 bytes). Copy or save it again."
    if head.startswith(b"\x89HDF"):
        return "is HDF5, Keras 2's format. Load it with Keras 2, and save it with Keras 3 as .keras."
    if head.startswith(b"PK"):
        return "is cut short or damaged. Copy it again."
    return "is no .keras file, which is a zip archive that Keras 3 wrote."


def require_segmenter(model: keras.Model, title: str | Path) -> None:
    """UserError unless `model` makes logits (batch, height, width, channels) of photos of a fixed size."""
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        problem = f"it has {len(inputs)} inputs and {len(outputs)} outputs"
    elif len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        problem = f"its input has the shape {tuple(inputs[0].shape)}"
    elif None in inputs[0].shape[1:]:
        problem = f"its input has no fixed size: {tuple(inputs[0].shape)}"
    elif len(outputs[0].shape) != 4 or None in outputs[0].shape[1:]:
        problem = f"its output has the shape {tuple(outputs[0].shape)}"
    else:
        return
    raise UserError(
        f"{title} is no segmenter: {problem}. One photo (batch, height, width, 3) goes in, one map of logits (batch, "
        "height, width, classes) comes out."
    )


_KEEPS_PROBABILITIES = (
    "UpSampling2D",
    "Resizing",
    "Reshape",
    "Permute",
    "Identity",
    "Cropping2D",
    "BilinearUpsampling",
)


def final_activation(model: keras.Model) -> str | None:
    """`sigmoid` or `softmax` where the outputs of `model` are probabilities of that kind, None for logits."""
    tensor = model.outputs[0]
    while True:
        operation = tensor._keras_history.operation
        kind = type(operation).__name__
        if kind == "Functional":
            tensor = operation.outputs[tensor._keras_history.tensor_index]
            continue
        activation = getattr(getattr(operation, "activation", None), "__name__", kind.lower())
        if activation in ("sigmoid", "softmax"):
            return activation
        if kind not in _KEEPS_PROBABILITIES or not isinstance(operation.input, type(tensor)):
            return None
        tensor = operation.input


def transfer(source: keras.Model, model: keras.Model, title: str | None = None) -> str:
    """Give `model` the weights of the layers of `source` that have its layers' names and shapes.

    Returns a line that says what was taken and which layers start anew. ValueError when none fits; `title` is what the
    lines call `source`.
    """
    values = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    layers, anew = [layer for layer in model.layers if layer.weights], []
    for layer in layers:
        found = values.get(layer.name, [])
        if [tuple(w.shape) for w in layer.weights] == [v.shape for v in found]:
            layer.set_weights(found)
        else:
            anew.append(layer.name)
    title = title or source.name
    if len(anew) == len(layers):
        raise ValueError(f"No layer of {model.name} fits the weights of {title}, which holds {source.name}.")
    names = ", ".join(anew[:8]) + (f" and {len(anew) - 8} more" if len(anew) > 8 else "")
    rest = f"these start anew: {names}" if anew else "none starts anew"
    return f"weights of {title}: {len(layers) - len(anew)} of {len(layers)} layers; {rest}"


def classes_of(source: str | Path, outputs: int, network: str = "") -> tuple[tuple[str, ...], list[list[int]]]:
    """Names and RGB colours of the classes of a preset, run folder or `.keras` file with `outputs` channels of logits.

    They are those of the data that it was trained on, as the run.json or card.json beside the file says; without one,
    background and person for up to two channels, `class 0` and so on for more. One channel has two classes. `network`,
    the registered name, tells where the last of them is void.
    """
    count, names, colors = max(2, outputs), None, None
    folder = find(source).parent
    for name in ("run.json", "card.json"):
        if found := record(folder, name).get("classes"):
            with reading(folder / name):
                names, colors = found.get("names"), found.get("colors")
                _check_classes(names, colors)
    if not names or len(names) != count:
        names, colors = ("background", "person") if count == 2 else [f"class {i}" for i in range(count)], None
        row = registry.network(network) if network and network in registry.names() else None
        if row and row.void and count == row.classes:
            names[-1] = "void"
    return tuple(names), colors or palette(count)[:count].tolist()


def _check_classes(names, colors) -> None:
    """ValueError unless both are missing, or lists of texts and of as many RGB colours, 0-255."""
    if names and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"its names are {str(names)[:60]}")
    if colors and not (isinstance(colors, list) and names and len(colors) == min(len(names), 256)):
        raise ValueError(f"its colors are {str(colors)[:60]}")
    for color in colors or ():
        if not (isinstance(color, list) and len(color) == 3 and all(part in range(256) for part in color)):
            raise ValueError(f"one of its colors is {str(color)[:60]}")


@dataclass(frozen=True)
class Predictor:
    """A network behind one call, whatever file it came from.

    `logits` takes RGB uint8 (photos, height, width, 3) at `input_size` and gives float32 (photos, h, w, channels).
    `class_names` and `colors` (RGB) have one entry per class: one more than channels when there is one channel.
    `fill_contours`: in which regions its spec asks whoever shows its masks to fill them, if at all; no figure is
    measured so. `smoothing` of videos is its spec's share (`keras_models.smoothing`), or None.
    """

    name: str
    input_size: tuple[int, int]
    logits: Callable[[np.ndarray], np.ndarray]
    class_names: tuple[str, ...]
    colors: list[list[int]]
    fill_contours: str | None = None
    smoothing: float | None = None


def predictor(source: str | Path, input_size: tuple[int, int] | None = None) -> Predictor:
    """The network of a run folder, preset, `.keras` or `.tflite` file; UserError for anything else.

    `input_size`: see `load`; a `.tflite` has the one that it was made with.
    """
    if Path(source).suffix == ".tflite":
        # The device side knows nothing of Keras; this is the one place that looks from here to there.
        from tflite import runtime

        try:
            segmenter = runtime.Segmenter(str(source))
        except ValueError as error:
            raise UserError(str(error)) from error
        # Where a pixel is foreground from another probability than 1/2, 0 is that one's logit.
        threshold = segmenter.threshold or 0.5
        shift = np.float32(np.log(threshold / (1 - threshold)))

        def shifted(images: np.ndarray) -> np.ndarray:
            try:
                return np.stack([segmenter.logits(image) for image in images]) - shift
            except runtime.ModelError as error:
                raise UserError(str(error)) from error

        return Predictor(
            Path(source).stem,
            segmenter.input_size,
            shifted,
            *segmenter.classes,
            segmenter.fill,
            segmenter.smoothing,
        )
    import keras

    model = load(source, input_size)
    require_segmenter(model, source)
    activation = final_activation(model)

    def logits(images: np.ndarray) -> np.ndarray:
        values = keras.ops.convert_to_numpy(model.predict_on_batch(np.asarray(images)))
        if activation is None:
            return values
        values = np.clip(values, 1e-7, 1 - 1e-7)
        return np.log(values) if activation == "softmax" else np.log(values / (1 - values))

    return Predictor(
        model.name, model.input_shape[1:3], logits, *classes_of(source, model.output_shape[-1], model.name)
    )
