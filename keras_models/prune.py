"""A trained network made narrower: `python -m keras_models.prune pocketnet-l pocketnet_m`.

NETWORK has MODEL's layers by name, with fewer channels in some, or without some. Of all channels those are kept from
which, on photos of its kind, the sums of the next layers are best predicted; what they tell of the others is added to
their weights. The result knows far more than new weights do, and is trained on: `train NETWORK --weights runs/pruned`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_models import command
from keras_models.command import UserError, option

if TYPE_CHECKING:
    import keras

PHOTOS = 100  # enough to judge channels by
_BATCH = 8


@dataclass(frozen=True)
class PruneOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="a preset, run folder or .keras file")
    network: str = option(positional=True, metavar="NETWORK", help="the narrower network's name")
    output: str = option("runs/pruned", metavar="DIR", help="the folder to write: model.keras and its card.json")
    dataset: str | None = option(
        None, metavar="KIND", help="kind of dataset (default: folder with --data-dir, else drawings)"
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    photos: int = option(PHOTOS, least=1, help="how many of its training photos channels are chosen by")


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        PruneOptions,
        argv,
        program="python -m keras_models.prune",
        description=__doc__,
        example="python -m keras_models.prune pocketnet-l pocketnet_m --dataset folder --data-dir photos",
    )
    command.load_keras()
    from keras_models import data, models, registry
    from keras_models.training import provenance

    options = dataclasses.replace(options, dataset=data.kind_of(options.dataset, options.data_dir))
    try:
        network = registry.network(options.network)
        with command.whole_folder(options.output) as folder:
            source = models.load(options.model)
            models.require_segmenter(source, options.model)
            photos = data.load(options.dataset, options.data_dir, "train")
            _, images = data.calibration_images(photos, options.photos, source.input_shape[1:3])
            target = network.build(source.output_shape[-1])
            said = prune(source, target, images)
            target.save(folder / "model.keras")
            card = {"name": Path(options.output).name, "network": network.name, "command": _typed(options)}
            card["licence"] = models.card(options.model).get("licence")
            card["began_from"] = provenance.behind(options.model)
            command.write_text(folder / "card.json", json.dumps(card, indent=1) + "\n")
    except ValueError as error:
        raise UserError(str(error)) from error
    print(
        f"{said} -> {options.output}\nnext: python -m keras_models.train {options.network} "
        f"--weights {options.output} --dataset folder --data-dir DIR"
    )
    return 0


def _typed(options: PruneOptions) -> str:
    """The command, with the names of files and folders alone."""
    words = ["python -m keras_models.prune", Path(options.model).name, options.network, "--dataset", options.dataset]
    words += ["--data-dir", Path(options.data_dir).name] if options.data_dir else []
    return " ".join([*words, "--photos", str(options.photos)])


def prune(source: keras.Model, target: keras.Model, images: np.ndarray) -> str:
    """Structured pruning: give `target` the weights of `source`'s layers of its names, of the most telling channels.

    Channels that an addition joins are kept or dropped together. `images`: (photos, height, width, 3), RGB 0-255, of
    `source`'s input size, on which channels are judged. Returns a line that says how much was kept. ValueError when
    `target` has a layer that `source` has not or a wider one, and for a layer that joins, splits or groups channels.
    """
    layers = [layer for layer in target.layers if layer.weights]
    known = {layer.name: layer for layer in source.layers if layer.weights}
    if missing := [layer.name for layer in layers if layer.name not in known]:
        raise ValueError(f"{target.name} is no narrower {source.name}, which has no layer {missing[0]}.")
    groups, widths = _groups(target), {}  # widths: there and here, of each group
    for layer in layers:
        wide, narrow = (each.output.shape[-1] for each in (known[layer.name], layer))
        if narrow > wide or widths.setdefault(groups[id(layer.output)], (wide, narrow)) != (wide, narrow):
            raise ValueError(
                f"{target.name} is no narrower {source.name}: {layer.name} has {narrow} channels here, {wide} there."
            )
    readers = [layer for layer in layers if _mixes(layer)]
    moments = _moments(source, [known[layer.name] for layer in readers], images)
    kept = {}
    for group, (wide, narrow) in widths.items():
        reading = [layer.name for layer in readers if groups[id(layer.input)] == group]
        told = [(moments[name][1], _by_input(known[name].get_weights()[0])) for name in reading]
        kept[group] = _most_telling(told, narrow) if narrow < wide else np.arange(wide)
    for layer in layers:
        weights, outputs = known[layer.name].get_weights(), kept[groups[id(layer.output)]]
        if _mixes(layer):
            inputs = kept.get(groups[id(layer.input)])  # None: the photo
            weights = weights if inputs is None else _folded(weights, *moments[layer.name], inputs)
            layer.set_weights([w[..., outputs] for w in weights])
        else:  # of the layers for each channel alone, a depthwise kernel is (height, width, channels, 1)
            layer.set_weights([w[:, :, outputs] if w.ndim == 4 else w[..., outputs] for w in weights])
    return f"{target.count_params():,} of {source.name}'s {source.count_params():,} values"


def _mixes(layer: keras.layers.Layer) -> bool:
    """Whether each of its output channels is a sum over all of its input channels."""
    import keras

    return isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)


def _by_input(kernel: np.ndarray) -> np.ndarray:
    """(inputs, all that each is multiplied by), float64, of a kernel (..., inputs, outputs)."""
    return np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1).astype("float64")


def _groups(model: keras.Model) -> dict[int, int]:
    """The group of every tensor, by its id: tensors of a group have the same channels, kept or dropped together."""
    import keras

    parents = {}

    def find(x: int) -> int:
        while parents.setdefault(x, x) != x:
            x = parents[x]
        return x

    for layer in model.layers:
        if _mixes(layer):
            if getattr(layer, "groups", 1) > 1:
                raise ValueError(f"{model.name} cannot be pruned: {layer.name} is a convolution in groups.")
            continue
        for x in keras.tree.flatten(layer.input):
            if x.shape[-1] != layer.output.shape[-1]:
                raise ValueError(f"{model.name} cannot be pruned: {layer.name} joins or splits channels.")
            parents[find(id(x))] = find(id(layer.output))
    return {id(x): find(id(x)) for layer in model.layers for x in keras.tree.flatten([layer.input, layer.output])}


def _moments(source: keras.Model, layers: list, images: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance, by the layer's name, of the channels that each of `layers` reads, over pixels and photos."""
    import keras

    read = keras.Model(source.input, [layer.input for layer in layers])
    first, second = [0.0] * len(layers), [0.0] * len(layers)
    for start in range(0, len(images), _BATCH):
        some = images[start : start + _BATCH]
        for i, values in enumerate(read(some.astype("float32"), training=False)):
            values = keras.ops.convert_to_numpy(values).reshape(-1, values.shape[-1])
            share = len(some) / len(images) / len(values)
            first[i] = first[i] + share * values.sum(axis=0, dtype="float64")
            second[i] = second[i] + share * (values.T @ values).astype("float64")
    covariances = [square - np.outer(mean, mean) for mean, square in zip(first, second, strict=True)]
    return {layer.name: found for layer, *found in zip(layers, first, covariances, strict=True)}


def _most_telling(told: list[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """`count` channels, rising, from which their readers' sums are best predicted, chosen one after the other.

    `told`: for each reader the covariance of the channels and its kernel by input; all readers count alike.
    """
    states = []  # of each reader what the chosen leave of two covariances, channels' and theirs with sums, and a floor
    for covariance, kernel in told:
        sums = covariance @ kernel
        scale = np.sqrt(max(np.sum(sums * kernel), 1e-12))
        states.append((covariance.copy(), sums / scale, 1e-6 * np.trace(covariance) / len(covariance) + 1e-12))
    chosen = []
    for _ in range(count):
        gains = sum(np.square(sums).sum(axis=1) / (np.diag(rest) + floor) for rest, sums, floor in states)
        gains[chosen] = -1
        best = int(np.argmax(gains))
        chosen.append(best)
        for rest, sums, floor in states:
            explained = rest[:, best] / (rest[best, best] + floor)
            sums -= np.outer(explained, sums[best])
            rest -= np.outer(explained, rest[best])
    return np.sort(chosen)


def _folded(weights: list[np.ndarray], mean: np.ndarray, covariance: np.ndarray, kept: np.ndarray) -> list[np.ndarray]:
    """Kernel and bias for the input channels `kept`: what they tell of the others is added to their own weights."""
    kernel, *bias = weights
    others = np.setdiff1d(np.arange(len(mean)), kept)
    known = covariance[np.ix_(kept, kept)]
    known = known + (1e-4 * np.trace(known) / len(kept) + 1e-12) * np.eye(len(kept))
    predicted = np.linalg.solve(known, covariance[np.ix_(kept, others)])  # (kept, others)
    lost = kernel[..., others, :]
    constant = (mean[others] - mean[kept] @ predicted) @ lost.sum(axis=(*range(lost.ndim - 2),))
    return [kernel[..., kept, :] + predicted @ lost, *(b + constant for b in bias)]


if __name__ == "__main__":
    command.run(main)
