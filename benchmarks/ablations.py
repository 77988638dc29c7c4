"""The papers' tables of ablations, and PocketNet's: `python -m benchmarks.ablations TABLE --data-dir DIR`.

Trains each row of a table with each seed: one schedule, as many photos seen, one size for all. It compares; so short a
training does not reach what the papers print. A run that is finished is not trained again, one that was interrupted
goes on, one that fails is noted and the others follow. Writes results/ablations/NAME.json after each run;
`python -m benchmarks.report` makes the tables of docs/ablations.md. The runs stay in --folder.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.markdown import table as as_table
from keras_models import command
from keras_models.command import UserError, option

FIGURES = ("foreground_iou", "mean_iou", "mean_iou_without_background", "boundary_iou", "class_iou")


@dataclass(frozen=True)
class AblationsOptions:
    """The command's flags."""

    name: str = option(positional=True, metavar="TABLE", help="which table; `list` shows them")
    dataset: str | None = option(None, metavar="KIND", help="kind of dataset (default: the table's)")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    more: str | None = option(None, metavar="DIR", help="a folder of generated photos, for the rows that have them")
    seeds: tuple[int, ...] = option((0, 1), least=0, help="seeds, each a run of every row")
    photos: int | None = option(None, least=1, help="photos that a run sees (default: the table's, some five minutes)")
    epochs: int | None = option(
        None, least=1, help="the same in epochs of the training photos, in the place of --photos"
    )
    input_size: tuple[int, ...] | None = option(
        None, least=1, metavar="SIDE | HEIGHT,WIDTH", help="another input than the table's"
    )
    folder: str = option("build/ablations", metavar="DIR", help="where the runs go")
    output: str | None = option(None, writes=(".json",), help="another file than results/ablations/TABLE.json")


def main(argv: list[str] | None = None) -> int:
    """Train what is missing of a table, print and write it; 1 when a run failed."""
    options = command.parse(
        AblationsOptions,
        argv,
        program="python -m benchmarks.ablations",
        description=__doc__,
        example="python -m benchmarks.ablations eoam-gate --data-dir eg1800 --seeds 0,1,2",
    )
    command.load_keras()
    from benchmarks.ablation_tables import TABLES

    if options.name == "list":
        for name, table in TABLES.items():
            print(f"{name:24s}{table.title}; {table.dataset}")
        return 0
    if options.name not in TABLES:
        raise UserError(f"Unknown table. Valid names: {', '.join(TABLES)}, list. Received: {options.name!r}")
    return run(TABLES[options.name], options)


def run(table, options: AblationsOptions) -> int:
    """Train what is missing of `table`."""
    from keras_models import data

    dataset = options.dataset or table.dataset
    training, validation, measured = (
        remembered(data.load(dataset, options.data_dir, split)) for split in ("train", "val", table.split)
    )
    more = remembered(data.load("folder", options.more, "train")) if options.more else None
    size = (*(options.input_size or table.input_size),) * 2
    seen = options.epochs * len(training) if options.epochs else options.photos or table.photos
    table = dataclasses.replace(table, input_size=size[:2], photos=seen)
    path = Path(options.output or machine.RESULTS / "ablations" / f"{options.name}.json")
    result = read(path, protocol(table, training, measured))
    for row in table.rows:
        result["rows"].setdefault(row.title, {"network": row.network, "published": row.published, "runs": {}})
    jobs = [(seed, row) for seed in options.seeds for row in table.rows]
    for number, (seed, row) in enumerate(jobs, start=1):
        runs = result["rows"][row.title]["runs"]
        if "reason" not in runs.get(str(seed), {"reason": ""}):
            continue
        print(f"run {number} of {len(jobs)}: {row.title}, seed {seed}", flush=True)
        folder = Path(options.folder) / options.name / f"{row.title.replace(' ', '-').replace('/', '-')}-{seed}"
        try:
            if row.more and more is None:
                raise UserError("Generated photos are needed: --more DIR, as `keras_models.data generate` writes it.")
            photos = joined(training, more) if row.more else training
            runs[str(seed)] = train(table, row, seed, folder, photos, validation, measured)
        except Exception as error:  # a night of runs does not end with one of them
            first = (str(error).splitlines() or [""])[0]
            runs[str(seed)] = {"reason": first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"}
            print(f"failed: {runs[str(seed)]['reason']}", flush=True)
        command.write_text(path, json.dumps({"machine": machine.describe(), **result}, indent=1) + "\n")
    print(markdown(result))
    return 1 if any("reason" in figures for row in result["rows"].values() for figures in row["runs"].values()) else 0


def protocol(table, training, measured) -> dict:
    """What all runs share, for the caption, and to know whether another command's runs belong to them."""
    from keras_models.training.recipes import to_json

    return {
        "title": table.title,
        "metric": table.metric,
        "training": f"{training.title}, {len(training)} photos",
        "measured": f"{measured.title}, {len(measured)} photos",
        "input_size": list(table.input_size),
        "photos": table.photos,
        "schedule": table.stage.title,
        "stage": to_json(table.stage),
    }


def read(path: Path, shared: dict) -> dict:
    """The results in `path`, or new ones; UserError when those were made otherwise."""
    if not path.is_file():
        return {"protocol": shared, "rows": {}}
    found = json.loads(path.read_text(encoding="utf-8"))
    different = [key for key in shared if found["protocol"].get(key) != shared[key]]
    if different:
        before, now = ({key: each.get(key) for key in different} for each in (found["protocol"], shared))
        raise UserError(
            f"{path} holds runs of other numbers: {before}, now {now}. Give those, or another --output and --folder."
        )
    return {"protocol": shared, "rows": found["rows"]}


def stages(table, row, photos: int) -> tuple:
    """The stages of a row that is trained on so many photos. Each has an equal share of the pixels that a run sees."""
    from keras_models import registry

    made, multiple = [], registry.network(row.network).multiple
    for number, share in enumerate(row.sizes):
        size = tuple(max(1, round(side * share / multiple)) * multiple for side in table.input_size)
        pixels = size[0] * size[1] / (table.input_size[0] * table.input_size[1])
        epochs = max(1, round(table.photos / len(row.sizes) / pixels / photos))
        stage = dataclasses.replace(table.stage, **row.changes)
        last = number == len(row.sizes) - 1
        rate = stage.learning_rate / 2**number
        schedule = stage.schedule if last else dataclasses.replace(stage.schedule, final=rate / 2)
        schedule = dataclasses.replace(schedule, warmup_epochs=int(number == 0 and epochs > 1))
        made.append(dataclasses.replace(stage, epochs=epochs, input_size=size, learning_rate=rate, schedule=schedule))
    return tuple(made)


def train(table, row, seed: int, folder: Path, training, validation, measured) -> dict:
    """Train one row with one seed in the run folder `folder`, on from where it stopped; its figures."""
    import keras

    from keras_models import complexity, evaluate, models, registry
    from keras_models.training import loop, runs
    from keras_models.training.recipes import Recipe, to_json

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    network = registry.network(row.network)
    if row.builder:
        network = dataclasses.replace(network, builder=row.builder)
    plan = []
    for stage in stages(table, row, len(training)):
        model = network.build(network.channels(len(loop.class_names(stage, training))), stage.input_size)
        loop.check_fits(stage, model, training)
        plan.append((stage, model))
    if row.weights:
        models.transfer(models.load(row.weights), plan[0][1])
    recipe = to_json(Recipe(f"{table.title}: {row.title}", tuple(stage for stage, _ in plan)))
    with runs.locked(folder):
        if (folder / "run.json").is_file() and runs.read_run(folder)["recipe"] != recipe:
            raise UserError(f"{folder} was begun with other numbers. Give another --folder, or remove it.")
        facts = {"options": {"network": row.network, "seed": seed}, "recipe": recipe}
        history = loop.run(loop.Plan(tuple(plan), training, validation, facts, seed), folder)
    found = evaluate.evaluate(models.predictor(folder), measured, command.progress("measuring")).figures
    return {key: found[key] for key in FIGURES if key in found} | {
        "parameters": complexity.count(plan[-1][1]).parameters,
        "epochs": [stage.epochs for stage, _ in plan],
        "minutes": sum(epoch["seconds"] for epoch in history) / 60,
        "date": time.strftime("%Y-%m-%d"),
    }


def remembered(dataset):
    """`dataset`, which keeps its photos as they were read, up to an eighth of the free memory: each row reads them."""
    from keras_models.data.pipeline import free_memory

    kept, room = {}, free_memory() // 8

    def load(i: int):
        nonlocal room
        if i not in kept:
            image, labels = dataset.load(i)
            room -= image.nbytes + labels.nbytes
            if room < 0:
                return image, labels
            kept[i] = image, labels
        return kept[i]

    return dataclasses.replace(dataset, load=load)


def joined(first, second):
    """The photos of two datasets of the same classes as one; UserError for others."""
    if first.class_names != second.class_names:
        raise UserError(f"{second.title} has the classes {second.class_names}, {first.title} {first.class_names}.")

    def load(i: int):
        return first.load(i) if i < len(first) else second.load(i - len(first))

    names = (*first.names, *(f"more/{name}" for name in second.names))
    return dataclasses.replace(first, title=f"{first.title} and more", names=names, load=load, shares=None, paths=None)


def markdown(result: dict) -> str:
    """The table with means and spreads over the seeds, and its caption."""
    shared, lines = result["protocol"], []
    metric = shared["metric"]
    title = {"foreground_iou": "foreground IoU", "mean_iou": "mean IoU"}.get(metric, "mean IoU without background")
    header = ["row", "parameters", f"{title}, %", "boundary IoU, %", "seeds", "published"]
    for name, row in result["rows"].items():
        runs = [run for run in row["runs"].values() if "reason" not in run]
        reasons = {run["reason"] for run in row["runs"].values() if "reason" in run}
        cells = [spread([run[key] for run in runs]) for key in (metric, "boundary_iou")] if runs else ["-", "-"]
        parameters = f"{runs[0]['parameters']:,}" if runs else "-"
        failed = f"; failed: {'; '.join(sorted(reasons))}" if reasons else ""
        lines.append([name, parameters, *cells, f"{len(runs)}{failed}", row["published"] or "-"])
    size = "x".join(map(str, shared["input_size"]))
    caption = (
        f"All rows share one schedule ({shared['schedule']}): each run sees {shared['photos']:,} photos at {size} "
        f"({shared['training']}), far fewer than the paper's; best epoch by the validation photos. Mean and standard "
        f"deviation over the seeds, measured on {shared['measured']}. Differences within the spread mean nothing."
    )
    return f"{as_table(header, lines)}\n\n{caption}"


def spread(values: list[float]) -> str:
    """`93.1 ± 0.2` of fractions of 1, in %: mean and standard deviation of a sample; of one value that alone."""
    percent = 100 * np.array(values)
    return f"{percent.mean():.1f}" + (f" ± {percent.std(ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    command.run(main)
