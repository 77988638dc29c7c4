"""Import a network's published PyTorch weights, without PyTorch.

`read` turns a checkpoint, in the old or the zip format, into numpy arrays; a pickle in it may name a few tensor types
and nothing else. `PUBLISHED` says for each network which module of the authors is which layer here.
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

from keras_models import command
from keras_models.command import UserError, option
from keras_models.networks import ccc, espnet, sinet
from keras_models.networks.extremec3 import DILATIONS, FINE_DILATIONS
from keras_models.registry import build

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


def _bn_prelu(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.bn": f"{ours}_bn", f"{theirs}.act": f"{ours}_prelu"}


def _c3_module(theirs: str, ours: str, dilations: tuple[int, ...], output: str) -> dict[str, str]:
    """A C3 module; `output` is the prefix of its last normalisation and PReLU."""
    table = {f"{theirs}.c1.conv": f"{ours}_reduce", **_bn_prelu(output, ours)}
    concentration = ("vertical", "vertical_bn", "vertical_prelu", "horizontal", "horizontal_bn")
    for branch, dilation in enumerate(dilations, start=1):
        steps = (*(concentration if dilation > 1 else ()), "depthwise", "pointwise")
        table |= {f"{theirs}.d{branch}.conv.{i}": f"{ours}_c3_{branch}_{step}" for i, step in enumerate(steps)}
    return table


def _extremec3() -> Published:
    c3 = {
        "encoder.level2_0": "l1",
        "encoder.level2.0": "l2",
        "encoder.level3_0": "l3",
        **{f"encoder.level3.{i}": f"l{i + 4}" for i in range(5)},
    }
    table = {"encoder.level1.conv": "stem_conv", **_bn_prelu("encoder.level1", "stem")}
    table |= _bn_prelu("encoder.b1", "stem_image")
    for theirs, ours in c3.items():
        table |= _c3_module(theirs, ours, DILATIONS[ours], theirs if ours == "l1" else f"{theirs}.bn")
    table |= _bn_prelu("encoder.b2", "l2_image")
    table |= _bn_prelu("encoder.b3", "coarse")
    table |= {"upsample.0": "coarse_reduce", "upsample.1": "coarse_reduce_bn", "Fine.0.conv": "fine_stem"}
    table |= _c3_module("Fine.1", "fine", FINE_DILATIONS, "Fine.1.bn")
    table |= {**_bn_prelu("classifier.0", "fuse"), "classifier.2": "head"}
    image_channels = {
        "stem_conv": (0, 255.0),
        "fine_stem": (0, 255.0),
        "stem_image_bn": (24, 255.0),
        "stem_image_prelu": (24, 1.0),
        "l1_reduce": (24, 1.0),
        "l2_image_bn": (96, 255.0),
        "l2_image_prelu": (96, 1.0),
        "l3_reduce": (96, 1.0),
    }
    return Published(table, image_channels)


def _espnet_encoder(dilations: tuple[int, ...]) -> dict[str, str]:
    """The encoder of the C3 networks for Cityscapes, and its classes."""
    table = {"encoder.level1.conv": "level1_conv", **_bn_prelu("encoder.level1", "level1")}
    for number, name in (("1", "level1_image"), ("2", "level2_image"), ("3", "level3")):
        table |= _bn_prelu(f"encoder.b{number}", name)
    for level, modules in ((2, espnet.P), (3, espnet.Q)):
        down = f"encoder.level{level}_0"
        table |= _c3_module(down, f"level{level}_down", dilations, down)
        for i in range(modules):
            theirs = f"encoder.level{level}.{i}"
            table |= _c3_module(theirs, f"level{level}_{i + 1}", dilations, f"{theirs}.bn")
    return table | {"encoder.classifier.conv": "level3_classes"}


def _espnet_image(level1: int) -> dict[str, tuple[int, float]]:
    """Where the image is in the encoder with `level1` channels at the first level."""
    return {
        "level1_conv": (0, 255.0),
        "level1_image_bn": (level1, 255.0),
        "level1_image_prelu": (level1, 1.0),
        "level2_down_reduce": (level1, 1.0),
        "level2_image_bn": (128, 255.0),
        "level2_image_prelu": (128, 1.0),
        "level3_down_reduce": (128, 1.0),
    }


def _ccc2() -> Published:
    table = _espnet_encoder(ccc.DILATIONS_2)
    table |= {"br": "level3_classes_bn", "up_l3.0": "level3_up", "level3_C.conv": "level2_classes"}
    table |= _bn_prelu("combine_l2_l3.0", "level2_fuse")
    table |= _c3_module("combine_l2_l3.1", "level2_decode", ccc.DILATIONS_2, "combine_l2_l3.1.bn")
    table |= {"up_l2.0": "level2_up_deconv", **_bn_prelu("up_l2.1", "level2_up")}
    table |= {"conv.conv": "level1_decode_conv", **_bn_prelu("conv", "level1_decode"), "classifier": "head"}
    decoder = {"level2_classes": (128, 1.0), "level1_decode_conv": (20 + 16, 1.0)}
    return Published(table, _espnet_image(16) | decoder)


def _c3netv2() -> Published:
    table = _espnet_encoder(ccc.DILATIONS_1) | {"bn": "level3_classes_bn", "classifier.1.conv": "head"}
    for level in (1, 2):
        theirs, ours = f"conv_l{level}", f"level{level}_fuse"
        table |= {f"{theirs}.conv.0": f"{ours}_depthwise", f"{theirs}.conv.1": f"{ours}_pointwise"}
        table |= _bn_prelu(theirs, ours)
    return Published(table, _espnet_image(20))


def _sinet_down(theirs: str, ours: str, excitations: int) -> dict[str, str]:
    """A strided separable convolution with squeeze-and-excitation."""
    table = {
        f"{theirs}.conv.0": f"{ours}_depthwise",
        f"{theirs}.conv.2": f"{ours}_pointwise",
        **_bn_prelu(theirs, ours),
    }
    for i in range(excitations):
        table[f"{theirs}.conv.1.dense.{2 * i}"] = f"{ours}_excite_{i + 1}"
        table[f"{theirs}.conv.1.dense.{2 * i + 1}"] = f"{ours}_excite_{i + 1}_prelu"
    return table


def _sinet() -> Published:
    table = {"encoder.level1.conv": "level1_conv", **_bn_prelu("encoder.level1", "level1")}
    for level, modules in ((2, sinet.LEVEL_2), (3, sinet.LEVEL_3)):
        table |= _sinet_down(f"encoder.level{level}_0", f"level{level}_down", excitations=level - 1)
        table |= _bn_prelu(f"encoder.BR{level}", f"level{level}")
        for i in range(len(modules)):
            theirs, ours = f"encoder.level{level}.{i}", f"level{level}_{i + 1}"
            table |= {f"{theirs}.c1.conv": f"{ours}_reduce", **_bn_prelu(f"{theirs}.BR", ours)}
            for branch in (1, 2):
                steps = {
                    "conv.0": "depthwise",
                    "conv.1": "depthwise_bn",
                    "act_conv1x1.0": "depthwise_prelu",
                    "act_conv1x1.1": "pointwise",
                    "bn": "bn",
                }
                table |= {f"{theirs}.d{branch}.{step}": f"{ours}_{branch}_{name}" for step, name in steps.items()}
    table |= {"encoder.classifier.conv": "level3_classes", "bn_3": "level3_up_bn", "bn_2": "level2_up_bn"}
    table |= {"level2_C.conv": "level2_classes_conv", **_bn_prelu("level2_C", "level2_classes"), "classifier.1": "head"}
    return Published(table, {"level1_conv": (0, 255.0)})


def _sinet_cityscapes() -> Published:
    table = {"encoder.level1.conv": "level1_conv", **_bn_prelu("encoder.level1", "level1")}
    table |= _sinet_down("encoder.level2_0", "level2_down", excitations=1)
    for level, modules in ((3, sinet.CITYSCAPES_LEVEL_3), (4, sinet.CITYSCAPES_LEVEL_4)):
        table |= _sinet_down(f"encoder.level{level}_0", f"level{level}_down", excitations=level - 2)
        table |= _bn_prelu(f"encoder.BR{level}", f"level{level}")
        for i, (_, *options) in enumerate(modules):
            theirs, ours = f"encoder.level{level}.{i}", f"level{level}_{i + 1}"
            table |= {f"{theirs}.c1.conv": f"{ours}_reduce", **_bn_prelu(f"{theirs}.BR", ours)}
            for branch, (_, pooling) in enumerate(options, start=1):
                cross = {
                    "vertical": "vertical",
                    "horizontal": "horizontal",
                    "B_v": "vertical_bn",
                    "B_h": "horizontal_bn",
                }
                steps = cross if pooling else {"conv.0": "depthwise", "conv.1": "depthwise_bn"}
                steps = steps | {"act_conv1x1.0": "prelu", "act_conv1x1.1": "pointwise", "bn": "bn"}
                table |= {f"{theirs}.d{branch}.{step}": f"{ours}_{branch}_{name}" for step, name in steps.items()}
    table |= {"encoder.classifier.conv": "level4_classes", "bn_4": "level4_up_bn", "bn_3": "level3_up_bn"}
    table |= {"level3_C.conv": "level3_classes_conv", **_bn_prelu("level3_C", "level3_classes"), "classifier": "head"}
    return Published(table, {})  # these authors feed RGB


PUBLISHED = {
    "extremec3": _extremec3,
    "sinet": _sinet,
    "ccc2": _ccc2,
    "c3netv2": _c3netv2,
    "sinet_cityscapes": _sinet_cityscapes,
}


def load(network: str, path: str | Path, input_size: tuple[int, int] | None = None):
    """The registered `network`, at its own size or `input_size`, with the weights of the authors' checkpoint at `path`.

    Raises UserError when the file cannot be read (see `read`), or its tensors are not those of the network.
    """
    if network not in PUBLISHED:
        raise UserError(f"No published weights are known for {network!r}. Known: {', '.join(PUBLISHED)}.")
    published = PUBLISHED[network]()
    tensors = {name: tensor for name, tensor in read(path).items() if not name.endswith("num_batches_tracked")}
    model = build(network, input_size=input_size)
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
            f"Networks whose weights can be imported: {', '.join(PUBLISHED)}."
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


# --- The command -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    network: str = option(help="the network whose weights these are", choices=tuple(PUBLISHED), positional=True)
    file: str = option(help="the authors' checkpoint (.pth)", positional=True)
    output: str = option(help="the model to write (.keras)")


def main(argv: list[str] | None = None) -> None:
    options = command.parse(
        Options,
        argv,
        program="python -m keras_models.checkpoints",
        description=__doc__.split("\n\n")[0],
        example="python -m keras_models.checkpoints extremec3 ExtremeC3.pth -o extremec3.keras",
    )
    if Path(options.output).suffix != ".keras":
        raise UserError(f"The output must end in .keras. Received: {options.output}")
    model = load(options.network, options.file)
    with command.whole_file(options.output) as temporary:
        model.save(temporary)
    print(
        f"{options.network}: {len(model.weights)} tensors, {model.count_params():,} values -> {options.output}\n"
        f"next: python -m keras_models.evaluate {options.output} --dataset eg1800 --data-dir DIR"
    )


if __name__ == "__main__":
    command.run(main)
