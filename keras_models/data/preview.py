"""Look at what a network would be shown: photos and masks after augmentation, as one picture.

Each row is one photo: as it is, then as training draws it again and again. With --each a row is one kind of change
alone: PortraitNet's deformation and texture, people pasted, light, shadow, motion blur, downscaling, JPEG, as far as
the recipe has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data import pipeline
from keras_models.data.augment import KINDS


@dataclass(frozen=True)
class PreviewOptions:
    """The command's flags."""

    data_dir: str | None = option(None, positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="which kind of dataset it is; mix for a mix.toml")
    network: str = option("pocketnet_m", help="whose recipe says how photos are changed")
    recipe: str | None = option(None, help="which of its recipes (default: the first)")
    photos: int = option(6, least=1, most=100, help="photos, one a row")
    draws: int = option(5, least=1, most=50, help="pictures of each after augmentation")
    each: bool = option(False, help="a row for each kind of change, alone")
    seed: int = option(0, least=0, help="what is drawn follows from it")
    output: str = option("preview.png", metavar="FILE.png", help="the picture")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for an unknown network, recipe or dataset, and for broken photos."""
    options = command.parse(
        PreviewOptions,
        argv,
        program="python -m keras_models.data preview",
        description=__doc__,
        example="python -m keras_models.data preview mix.toml --dataset mix -o preview.png",
    )
    dataset = _dataset(options)
    command.load_keras()
    from keras_models.training.loop import find_recipe

    try:
        recipe = find_recipe(options.network, options.recipe)
    except ValueError as error:
        raise UserError(str(error)) from error
    pictures.write(options.output, preview(dataset, recipe.stages[-1].augmentation, options))
    rows = "each change alone" if options.each else f"{options.photos} photos"
    print(f"{options.output}: {rows} and {options.draws} draws of each")
    return 0


def _dataset(options: PreviewOptions) -> data.Dataset:
    found = data.load(options.dataset, options.data_dir, "train")
    chosen = np.random.default_rng(options.seed).choice(len(found), 4 * options.photos, p=found.shares)
    empty = [i for i, name in enumerate(found.names) if name.startswith("background/")][: options.each]
    return found.subset(dict.fromkeys([*chosen.tolist(), *empty]), found.title)  # more than shown, to paste from


def preview(dataset: data.Dataset, augmentation: data.Augmentation, options: PreviewOptions) -> np.ndarray:
    """RGB uint8: a row per photo or change: with its mask as it is, and as drawn `options.draws` times."""
    size = (224, 224)
    augmentation = replace(augmentation, mirrored=dataset.mirrored)
    samples, colors = pipeline.cache(dataset, size, zoom=augmentation.zoom), pictures.class_colors(dataset)
    if options.each:
        kinds = {kind: alone for kind in KINDS if (alone := augmentation.only(kind))}
        rows = [(i, alone, kind) for i, (kind, alone) in enumerate(kinds.items())]
        empty = next((i for i in range(len(samples)) if not samples[i][1].any()), None)
        if empty is not None and "people pasted" in kinds:
            rows.append((empty, kinds["people pasted"], "people on another background"))
    else:
        rows = [(i, augmentation, "") for i in range(min(options.photos, len(samples)))]
    shown = []
    for i, changing, title in rows:
        image, labels = samples[i % len(samples)]
        tiles = [(data.prepare_image(image, size), data.prepare_mask(labels, size))]
        for draw in range(options.draws):
            rng = np.random.default_rng((options.seed, i, draw))
            changed, moved = changing.warp(image, labels, size, rng)
            changed, moved = changing.compose(
                changed, moved, lambda rng=rng: samples[int(rng.integers(len(samples)))], size, rng
            )
            tiles.append((changing.recolour(changed, rng), moved))
        row = np.hstack([pictures.overlay(photo, mask, colors) for photo, mask in tiles])
        shown.append(pictures.caption(row, title) if title else row)
    return np.vstack(shown)


if __name__ == "__main__":
    command.run(main)
