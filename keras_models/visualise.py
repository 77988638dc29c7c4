"""Look inside networks, as the papers draw them: `python -m keras_models.visualise WHAT SOURCE ... -o FILE`.

features     the mean over the channels of a layer's output, and its middle enlarged, which shows the grid that dilation
             leaves (C3 paper, figures 1 and 6); several networks side by side
activation   where a network sees a class: the class activation map of a classifier (figure 7), a segmenter's logits
runs         the convergence of run folders in one plot (Improved DeepLabv3+, figure 5)
flops        accuracy against multiply-accumulates on EG1800: the papers' figures and those measured here (C3, figure 5)

SOURCE is a preset, run folder or `.keras` file; for features and activation also a registered name, which has the
random weights that training begins with; for runs run folders; flops takes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from keras_models import command, pictures
from keras_models.command import UserError, option

if TYPE_CHECKING:
    import keras

KINDS = ("features", "activation", "runs", "flops")
TILE = (256, 256)
ENLARGED = 4  # how many times smaller than the whole map the enlarged middle is


@dataclass(frozen=True)
class VisualiseOptions:
    """The command's flags."""

    what: str = option(positional=True, choices=KINDS, help="what to draw, see above")
    sources: tuple[str, ...] = option((), positional=True, metavar="SOURCE", help="networks or run folders")
    output: str = option("visualise.png", metavar="FILE.png", help="the picture")
    photo: str | None = option(None, metavar="FILE", help="features, activation: the photo that the networks see")
    layer: str | None = option(
        None, help="features: whose output (default: the last at the network's lowest resolution)"
    )
    input_size: tuple[int, ...] | None = option(
        None,
        least=1,
        metavar="SIDE | HEIGHT,WIDTH",
        help="features, activation: another input than the networks' own; a grid needs a large map to be seen",
    )
    label: int | None = option(
        None, least=0, help="activation: number of the class (default: the likeliest but class 0)"
    )
    results: str = option("benchmarks", metavar="DIR", help="flops: where the measured results are (JSON files)")


def load(source: str, input_size: tuple[int, ...] | None = None) -> keras.Model:
    """A trained network, or a registered one with its first random weights; of another `input_size` where one is given.

    UserError for neither, and for a size that the network cannot take.
    """
    import keras

    from keras_models import models, registry

    size = input_size and (*input_size, *input_size)[:2]
    try:
        if source in registry.names():
            keras.utils.set_random_seed(0)
            print(f"{source} is a name: its weights are random, as training begins.")
            return registry.build(source, input_size=size)
        model = models.load(source)
        return registry.build(model.name, input_size=size, weights=source) if size else model
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def deepest(model: keras.Model) -> str:
    """The layer whose map (height, width) is the smallest but a single pixel, the last of several."""
    sizes = {
        layer.name: layer.output.shape[1] * layer.output.shape[2]
        for layer in model.layers
        if len(getattr(layer.output, "shape", ())) == 4 and layer.output.shape[1] * layer.output.shape[2] > 1
    }
    if not sizes:
        raise UserError(f"{model.name} has no layer with a map of height and width.")
    smallest = min(sizes.values())
    return [name for name, size in sizes.items() if size == smallest][-1]


def mean_features(model: keras.Model, photo: np.ndarray, layer: str | None = None) -> np.ndarray:
    """(height, width) float32: the mean over the channels of `layer`'s output for RGB uint8 `photo` of any size.

    UserError for a layer that the model has not, or whose output is no map.
    """
    layer = layer or deepest(model)
    try:
        output = model.get_layer(layer).output
    except ValueError as error:
        raise UserError(f"{model.name} has no layer {layer!r}; `python -m keras_models.summary` lists them.") from error
    if len(output.shape) != 4:
        raise UserError(f"The output of {model.name}'s layer {layer} is no map: {tuple(output.shape)}.")
    return _run(model, output, photo).mean(axis=-1)


def activation(model: keras.Model, photo: np.ndarray, label: int | None = None) -> tuple[np.ndarray, int]:
    """(height, width) float32 and the class: how much each place of RGB uint8 `photo` speaks for class `label`.

    For a classifier that pools its features and has one dense layer, these weighted by the class's row of that layer;
    for a segmenter its logits. Without `label`: the classifier's likeliest; the segmenter's most frequent but class 0.
    """
    output = model.output
    if len(output.shape) == 4:
        logits = _run(model, output, photo)
        if label is None:
            found = np.bincount(logits.argmax(-1).ravel(), minlength=logits.shape[-1])
            label = 0 if logits.shape[-1] == 1 else 1 + int(found[1:].argmax())
        _require(label, logits.shape[-1], model)
        return logits[..., label], label
    import keras

    dense = model.layers[-1]
    pool = next((layer for layer in reversed(model.layers) if "GlobalAverage" in type(layer).__name__), None)
    if not isinstance(dense, keras.layers.Dense) or pool is None:
        raise UserError(f"{model.name} has no class activation map: it needs a global average and one dense layer.")
    features = _run(model, pool.input, photo)
    kernel = keras.ops.convert_to_numpy(dense.kernel)
    maps = features @ kernel  # the mean over a map is the class's logit, but for the bias
    label = int(maps.mean(axis=(0, 1)).argmax()) if label is None else label
    _require(label, maps.shape[-1], model)
    return maps[..., label], label


def _require(label: int, classes: int, model: keras.Model) -> None:
    if label >= classes:
        raise UserError(f"--label is below {classes} for {model.name}. Received: {label}")


def _run(model: keras.Model, output, photo: np.ndarray) -> np.ndarray:
    """`output` of the model, float32 without the batch, for one photo resized to its input."""
    import keras

    from keras_models import data

    image = data.prepare_image(photo, model.input_shape[1:3])[None].astype("float32")
    return keras.ops.convert_to_numpy(keras.Model(model.input, output)(image, training=False))[0]


def heat(values: np.ndarray, smooth: bool = False) -> np.ndarray:
    """RGB uint8, as large as a tile takes: low values blue, high ones yellow; the extreme hundredths are cut."""
    scale = min(tile / side for tile, side in zip(TILE, values.shape, strict=True))
    height, width = (round(side * scale) for side in values.shape)
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    grey = cv2.resize((255 * scaled).astype(np.uint8), (width, height), interpolation=interpolation)
    return cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def _seen(photo: np.ndarray, model: keras.Model) -> np.ndarray:
    """RGB uint8: the photo at the model's aspect ratio, as it sees it."""
    from keras_models import data

    return data.prepare_image(photo, model.input_shape[1:3])


def draw_features(models: list[keras.Model], photo: np.ndarray, layer: str | None) -> np.ndarray:
    """A row for each network: the photo, the mean feature map, its middle enlarged."""
    tiles = []
    for model in models:
        values = mean_features(model, photo, layer)
        height, width = (max(4, side // ENLARGED) for side in values.shape)
        top, left = (values.shape[0] - height) // 2, (values.shape[1] - width) // 2
        middle = values[top : top + height, left : left + width]
        name = layer or deepest(model)
        size = f"{values.shape[0]}x{values.shape[1]}"
        for image, text in (
            (_seen(photo, model), model.name),
            (heat(values), f"{name} {size}"),
            (heat(middle), "its middle"),
        ):
            tiles.append(pictures.caption(pictures.fit(image, TILE), text))
    return pictures.grid(tiles, 3)


def draw_activation(models: list[keras.Model], photo: np.ndarray, label: int | None) -> np.ndarray:
    """A row for each network: the photo, the class activation map, and it over the photo."""
    tiles = []
    for model in models:
        values, found = activation(model, photo, label)
        colors = heat(values, smooth=True)
        shown = cv2.resize(_seen(photo, model), colors.shape[1::-1])
        for image, text in (
            (shown, model.name),
            (colors, "foreground" if model.output_shape[-1] == 1 else f"class {found}"),
            (cv2.addWeighted(shown, 0.5, colors, 0.5, 0), "on the photo"),
        ):
            tiles.append(pictures.caption(pictures.fit(image, TILE), text))
    return pictures.grid(tiles, 3)


def draw_runs(folders: list[str]):
    """A `matplotlib` figure: loss and validation IoU of each run by epoch, stages one after the other."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("Plots need matplotlib: pip install matplotlib") from error
    from keras_models.training import runs

    histories = {folder: runs.read_history(folder) for folder in folders}
    figure = Figure(figsize=(9.6, 4.2), dpi=100, layout="constrained")
    for axes, (column, title) in zip(
        figure.subplots(1, 2), (("loss", "training loss"), ("val_mean_iou", "validation mean IoU")), strict=True
    ):
        for folder, rows in histories.items():
            axes.plot(range(1, len(rows) + 1), [row[column] for row in rows], label=Path(folder).name)
        axes.set(xlabel="epoch", title=title)
        axes.grid(color="#e4e4e4")
    axes.legend()
    return figure


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        VisualiseOptions,
        argv,
        program="python -m keras_models.visualise",
        description=__doc__,
        example="python -m keras_models.visualise features espnet ds_espnet_decoder ccc1 --photo me.jpg -o grid.png",
    )
    if options.what != "flops" and not options.sources:
        raise UserError(f"{options.what} needs one SOURCE or more; see --help.")
    if options.what in ("features", "activation"):
        if not options.photo:
            raise UserError(f"{options.what} needs --photo FILE.")
        from keras_models.data.images import read_image

        photo = read_image(Path(options.photo))
        command.load_keras()
        models = [load(source, options.input_size) for source in options.sources]
        if options.what == "features":
            picture = draw_features(models, photo, options.layer)
        else:
            picture = draw_activation(models, photo, options.label)
        pictures.write(options.output, picture)
    else:
        if options.what == "runs":
            figure = draw_runs(list(options.sources))
        else:
            command.load_keras()
            from keras_models.papers import plot

            figure = plot.draw([*plot.published(), *plot.measured(options.results)], against="macs")
        with command.whole_file(options.output) as temporary:
            figure.savefig(temporary)
    print(f"-> {options.output}")
    return 0


if __name__ == "__main__":
    command.run(main)
