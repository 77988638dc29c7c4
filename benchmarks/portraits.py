"""What are generated portraits worth? ExtremeC3Net under one schedule with and without them, as the paper's table 3.

PORTRAITS is a folder that `data generate` made and `data review` looked through. Each seed trains twice on EG1800's
training photos, the second time together with the portraits: the same number of steps, so that a photo more is not a
step more, every photo drawn alike, the best epoch by EG1800's validation photos. EG1800's test photos only measure.
Call it again to go on where it stopped, or with more seeds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from keras_models import command, data, evaluate, models, train
from keras_models.command import UserError, option
from keras_models.data.review import Review
from keras_models.training import methods
from keras_models.training.recipes import Recipe, Stage

NETWORK, BATCH, DRAWS = "extremec3", 24, 4000
RUNS = ("without", "with")


@dataclass(frozen=True)
class PortraitsOptions:
    """The command's flags."""

    eg1800: str = option(positional=True, metavar="EG1800", help="EG1800's folder")
    portraits: str = option(positional=True, metavar="PORTRAITS", help="the generated and reviewed portraits")
    output: str = option("runs/portraits", metavar="DIR", help="the run folders")
    seeds: tuple[int, ...] = option((0,), least=0, metavar="SEED,...", help="each trains twice")
    epochs: tuple[int, ...] = option(
        (9, 3), least=1, metavar="EPOCHS,...", help="passes over EG1800 at 96x96, then at 128x128"
    )


def main(argv: list[str] | None = None) -> int:
    """Train what is not there yet, measure, and write results/portraits.json."""
    options = command.parse(
        PortraitsOptions,
        argv,
        program="python -m benchmarks.portraits",
        description=__doc__,
        example="python -m benchmarks.portraits eg1800 ccp-portraits --seeds 0,1,2",
    )
    if len(options.epochs) != 2:
        raise UserError("--epochs takes two numbers, as 9,3.")
    command.load_keras()
    generated = json.loads((Path(options.portraits) / "generated.json").read_text(encoding="utf-8"))
    with Review(Path(options.portraits)) as review:
        verdicts = [photo["verdict"] for photo in review.state()["photos"]]
    if None in verdicts:
        raise UserError(f"{verdicts.count(None)} portraits are not reviewed: python -m keras_models.data review")
    test, found = data.load("eg1800", options.eg1800, "test"), {}
    for seed in options.seeds:
        for name in RUNS:
            folder = train_one(options, seed, name)
            found[seed, name] = evaluate.evaluate(models.predictor(str(folder)), test)
    write(options, generated, verdicts, found)
    return 0


def schedule(passes: tuple[int, ...], photos: int, all_photos: int) -> tuple[Stage, ...]:
    """The stages for `all_photos`, with as many steps as `passes` over `photos` have, to the nearest epoch."""
    steps, all_steps = photos // BATCH, all_photos // BATCH
    epochs = [max(1, round(count * steps / all_steps)) for count in passes]
    stages = (methods.pocket(96, epochs[0], 1e-2, 4e-3), methods.pocket(128, epochs[1], 4e-3, 1e-5))
    return tuple(dataclasses.replace(stage, batch_size=BATCH) for stage in stages)


def train_one(options: PortraitsOptions, seed: int, name: str) -> Path:
    """The run folder of a seed, with or without the portraits; it is trained, or trained to its end."""
    output = Path(options.output)
    folder, mix = output / f"{name}-{seed}", output / f"{name}.toml"
    parts = {"eg1800": (options.eg1800, "train")}
    if name == "with":
        parts["folder"] = (options.portraits, "all")
    counts = {kind: len(data.load(kind, place, split)) for kind, (place, split) in parts.items()}
    recipe = Recipe(__doc__.partition("\n")[0], schedule(options.epochs, counts["eg1800"], sum(counts.values())))
    if (folder / "run.json").is_file():
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if [s["epochs"] for s in run["recipe"]["stages"]] != [stage.epochs for stage in recipe.stages]:
            raise UserError(f"{folder} was trained with other --epochs or portraits; give another --output.")
        from keras_models.training import runs

        trained = len(runs.read_history(folder)) if (folder / "history.csv").is_file() else 0
        if trained < sum(stage.epochs for stage in recipe.stages):
            train.main(["--resume", str(folder)])
        return folder
    tables = (
        f'[[set]]\ndataset = "{kind}"\ndata_dir = {json.dumps(str(Path(place).resolve()))}\ntrain = "{split}"\n'
        f"weight = {counts[kind]}\n" + ('val = "val"\n' if kind == "eg1800" else "")
        for kind, (place, split) in parts.items()
    )
    command.write_text(mix, "\n".join(tables))
    flags = train.TrainOptions(NETWORK, "mix", str(mix), seed=seed)
    if train.train(flags, recipe, folder):
        raise KeyboardInterrupt
    return folder


def write(options: PortraitsOptions, generated: dict, verdicts: list, found: dict) -> None:
    """results/portraits.json, and a line on each figure."""
    rows = [
        {"seed": seed, "portraits": name, "foreground_iou": round(result.figures["foreground_iou"], 5)}
        for (seed, name), result in found.items()
    ]
    by_run = {name: np.array([found[seed, name].foreground_iou for seed in options.seeds]) for name in RUNS}
    difference = (by_run["with"] - by_run["without"]).mean(axis=0)
    rng = np.random.default_rng(0)
    drawn = difference[rng.integers(len(difference), size=(DRAWS, len(difference)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    histories = {name: Path(options.output) / f"{name}-{options.seeds[0]}" / "run.json" for name in RUNS}
    runs = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in histories.items()}
    steps = {
        name: [len(run["data"]["train"]) // BATCH * stage["epochs"] for stage in run["recipe"]["stages"]]
        for name, run in runs.items()
    }
    for row in rows:
        print(f"seed {row['seed']}, {row['portraits']:8s} foreground IoU {row['foreground_iou']:.4f}")
    print(f"difference {difference.mean():+.4f}, {low:+.4f} to {high:+.4f} over the photos")
    machine.write(
        "portraits",
        {
            "protocol": f"{NETWORK} at 96x96, then 128x128, batch {BATCH}; EG1800's test photos at 128x128",
            "generated": {
                "photos": generated["photos"],
                "portraits": len(generated["portraits"]),
                "left_out": len(generated["left_out"]),
                "seconds": generated["seconds"],
            },
            "reviewed": {verdict: verdicts.count(verdict) for verdict in ("keep", "discard")},
            "training_photos": {name: len(run["data"]["train"]) for name, run in runs.items()},
            "steps": steps,
            "runs": rows,
            "foreground_iou": {name: round(float(ious.mean()), 5) for name, ious in by_run.items()},
            "difference": {
                "foreground_iou": round(float(difference.mean()), 5),
                "low": round(float(low), 5),
                "high": round(float(high), 5),
                "by_seed": [
                    round(float((by_run["with"][i] - by_run["without"][i]).mean()), 5)
                    for i in range(len(options.seeds))
                ],
            },
        },
    )


if __name__ == "__main__":
    command.run(main)
