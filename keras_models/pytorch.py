"""A network's published PyTorch weights, read without PyTorch.

`read` turns a checkpoint, in the old or the zip format, into numpy arrays; a pickle in it may name a few tensor types
and nothing else. A network's own file says which module of the authors is which layer here: a `Published`.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_models import registry
from keras_models.command import UserError

# --- Reading ---------------------------------------------------------------------------------------------------------

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first pickle of the old format
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Unpickles dictionaries of tensors. A pickle can name any function of the machine; this one refuses."""

    def __init__(self, file, path: Path):
        super().__init__(file, encoding="utf-8")
        self.path = path
        self.storages: list[_Storage] = []

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise UserError(
            f"{self.path} is refused: its pickle asks for {module}.{name}, which no table of weights needs and which "
            f"could run code. Only tensors are read. Save the network's state_dict() and import that."
        )

    def persistent_load(self, pid):
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):
            raise UserError(f"{self.path} is refused: it holds something other than plain tensors ({kind}).")
        self.storages.append(_Storage(str(key), dtype, size))
        return self.storages[-1]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch checkpoint by name.

    Takes a `state_dict` or a dictionary that has one under "state_dict", with or without DataParallel's "module."
    prefix. Raises UserError when the file is missing, cut short, no checkpoint, or holds anything but tensors.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error
    try:
        table, storages = (_read_zip if data[:2] == b"PK" else _read_old)(data, path)
        if not isinstance(table, dict):
            raise UserError(f"{path} holds no table of weights but a {type(table).__name__}.")
        table = table.get("state_dict", table)
        tensors = {name: _array(value, storages) for name, value in table.items() if isinstance(value, _Tensor)}
        if all(name.startswith("module.") for name in tensors):
            tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    except UserError:
        raise
    except Exception as error:  # a foreign file can make the pickle machine raise anything
        raise UserError(
            f"{path} is not a PyTorch checkpoint, or it is cut short ({type(error).__name__}: {error}). "
            f"Download it again and compare its size."
        ) from error
    if not tensors:
        raise UserError(f"{path} holds no tensors.")
    return tensors


def _read_old(data: bytes, path: Path):
    """PyTorch before 1.6: pickles of magic number, version, byte order, table and storage keys, then the storages."""
    file = io.BytesIO(data)
    if _Unpickler(file, path).load() != MAGIC_NUMBER:
        raise ValueError("no magic number")
    _Unpickler(file, path).load()
    if not _Unpickler(file, path).load()["little_endian"]:
        raise UserError(f"{path} was written on a big-endian machine, which is not supported.")
    unpickler = _Unpickler(file, path)
    table = unpickler.load()
    dtypes = {storage.key: storage.dtype for storage in unpickler.storages}
    storages = {}
    for key in map(str, _Unpickler(file, path).load()):
        size = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(data, dtypes[key], size, file.tell())
        file.seek(storages[key].nbytes, io.SEEK_CUR)
    return table, storages


def _read_zip(data: bytes, path: Path):
    """PyTorch from 1.6 on: NAME/data.pkl and NAME/data/KEY for each storage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip file without a data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise UserError(f"{path} was written on a big-endian machine, which is not supported.")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])), path)
        table = unpickler.load()
        storages = {
            storage.key: np.frombuffer(archive.read(f"{folder}data/{storage.key}"), storage.dtype)
            for storage in set(unpickler.storages)
        }
    return table, storages


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """The tensor's own copy of its part of the storage."""
    (key, _, size), offset, shape, strides = tensor
    storage = storages[key]
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if math.prod(shape) else -1
    if min(offset, *shape, *strides, 0) < 0 or max(offset + last + 1, math.prod(shape), size) > len(storage):
        raise ValueError("a tensor reaches past its storage")
    strides = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides).copy()


# --- Mapping ---------------------------------------------------------------------------------------------------------

# For each type of layer, the authors' parameters in the order of the layer's weights (which may lack the bias), ...
PARAMETERS = {
    "Conv2D": ("weight", "bias"),
    "Conv2DTranspose": ("weight", "bias"),
    "DepthwiseConv2D": ("weight", "bias"),
    "RowDepthwiseConv2D": ("weight", "bias"),
    "GroupedPointwise": ("weight", "bias"),
    "Dense": ("weight", "bias"),
    "PReLU": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}
# ... and the axes that bring a kernel from PyTorch's order to Keras'.
KERNEL_AXES = {
    "Conv2D": (2, 3, 1, 0),
    "Conv2DTranspose": (2, 3, 1, 0),
    "DepthwiseConv2D": (2, 3, 0, 1),
    "RowDepthwiseConv2D": (2, 3, 0, 1),
    "GroupedPointwise": (2, 3, 1, 0),
    "Dense": (1, 0),
}


@dataclass(frozen=True)
class Published:
    """How the authors' weights become a network of this project.

    `layers`: the authors' module -> our layer. `image_channels`: the layers that see the image, or a part of a tensor
    that is the image: where its three channels begin, and what they must be divided by to be the authors' values.
    The authors feed BGR / 255 where we feed RGB; turning the channels around and moving the factor into the weights
    gives the same function.
    """

    layers: dict[str, str]
    image_channels: dict[str, tuple[int, float]]


def bn_prelu(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.bn": f"{ours}_bn", f"{theirs}.act": f"{ours}_prelu"}


def c3_module(theirs: str, ours: str, dilations: tuple[int, ...], output: str) -> dict[str, str]:
    """A C3 module; `output` is the prefix of its last normalisation and PReLU."""
    table = {f"{theirs}.c1.conv": f"{ours}_reduce", **bn_prelu(output, ours)}
    concentration = ("vertical", "vertical_bn", "vertical_prelu", "horizontal", "horizontal_bn")
    for branch, dilation in enumerate(dilations, start=1):
        steps = (*(concentration if dilation > 1 else ()), "depthwise", "pointwise")
        table |= {f"{theirs}.d{branch}.conv.{i}": f"{ours}_c3_{branch}_{step}" for i, step in enumerate(steps)}
    return table


def importable() -> list[str]:
    """The networks whose published weights `load` reads."""
    return [name for name in registry.names() if registry.network(name).published]


def load(network: str, path: str | Path, input_size: tuple[int, int] | None = None):
    """The registered `network`, at its own size or `input_size`, with the weights of the authors' checkpoint at `path`.

    Raises UserError when the file cannot be read (see `read`), or its tensors are not those of the network.
    """
    if network not in importable():
        raise UserError(f"No published weights are known for {network!r}. Known: {', '.join(importable())}.")
    published = registry.network(network).published()
    tensors = {name: tensor for name, tensor in read(path).items() if not name.endswith("num_batches_tracked")}
    model = registry.build(network, input_size=input_size)
    wanted = {}  # the authors' name -> our layer and its weight
    for module, layer in published.layers.items():
        layer = model.get_layer(layer)
        for name, weight in zip(PARAMETERS[type(layer).__name__], layer.weights, strict=False):
            wanted[f"{module}.{name}"] = layer, weight
    _compare_names(network, path, tensors, wanted)

    values = collections.defaultdict(list)
    for name, (layer, weight) in wanted.items():
        value = _in_keras_order(type(layer).__name__, tensors[name])
        if value.shape != tuple(weight.shape):
            raise UserError(
                f"{path} is not the authors' {network}: {name} has the shape {tensors[name].shape}, "
                f"which does not fit the layer {layer.name} with {tuple(weight.shape)}."
            )
        values[layer].append(value)
    for layer, weights in values.items():
        if layer.name in published.image_channels:
            weights = _absorb(layer, weights, *published.image_channels[layer.name])
        layer.set_weights(weights)
    return model


def _compare_names(network, path, tensors, wanted) -> None:
    missing, left_over = [n for n in wanted if n not in tensors], [n for n in tensors if n not in wanted]
    differences = [
        f"{len(names)} {what} (first: {names[0]})"
        for names, what in ((missing, "missing"), (left_over, "left over"))
        if names
    ]
    if differences:
        raise UserError(
            f"{path} is not the authors' {network}: of {len(wanted)} tensors, {' and '.join(differences)}. "
            f"Networks whose weights can be imported: {', '.join(importable())}."
        )


def _in_keras_order(kind: str, value: np.ndarray) -> np.ndarray:
    axes = KERNEL_AXES.get(kind, ())
    if kind == "Conv2D" and value.ndim == 2:  # a fully connected layer there, a 1x1 convolution here
        value = value[..., None, None]
    if value.ndim > 1 and value.ndim == len(axes):
        return value.transpose(axes)
    return value[None, None] if kind == "PReLU" else value  # PReLU's slopes have a height and a width of 1


def _absorb(layer, values: list[np.ndarray], first: int, factor: float) -> list[np.ndarray]:
    """`values` for an image whose three channels, from `first` on, are turned around and `factor` times greater.

    Exact: a convolution's kernel is divided; a batch normalisation's statistics are those of the greater values, with
    the epsilon taken care of.
    """
    values = [np.array(value, "float64") for value in values]
    image = slice(first, first + 3)
    axis = -2 if type(layer).__name__ == "Conv2D" else -1  # a kernel's input channels, everything else's only ones
    for value in values:
        channels = np.moveaxis(value, axis, 0)
        channels[image] = channels[image][::-1].copy()
    if type(layer).__name__ == "BatchNormalization":
        _, _, mean, variance = values
        mean[image] *= factor
        variance[image] = factor**2 * (variance[image] + layer.epsilon) - layer.epsilon
    elif factor != 1:
        np.moveaxis(values[0], axis, 0)[image] /= factor
    return values
