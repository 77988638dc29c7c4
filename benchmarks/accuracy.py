"""Accuracy of one trained network on a test split, with its size beside it.

`python -m benchmarks.accuracy extremec3-eg1800 --dataset eg1800 --data-dir DIR` writes
results/accuracy-NAME-DATASET.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from keras_models import command, complexity, data, models
from keras_models.command import option
from keras_models.evaluate import evaluate


@dataclass(frozen=True)
class AccuracyOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset or .keras")
    dataset: str = option("eg1800", metavar="KIND", help="kind of dataset")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    split: str = option("test", choices=("val", "test"), help="which split")
    title: str | None = option(None, help="what the table calls it (default: MODEL)")


def main(argv: list[str] | None = None) -> None:
    """Measure and write."""
    options = command.parse(
        AccuracyOptions,
        argv,
        program="python -m benchmarks.accuracy",
        description=__doc__,
        example="python -m benchmarks.accuracy extremec3-eg1800 --dataset eg1800 --data-dir eg1800",
    )
    dataset = data.load(options.dataset, options.data_dir, options.split)
    figures = evaluate(models.predictor(options.model), dataset, command.progress("measuring")).figures
    counted = complexity.count(models.load(options.model))
    name = Path(options.model).stem
    size = {"title": options.title or name, "parameters": counted.parameters, "macs": counted.macs}
    machine.write(f"accuracy-{name}-{options.dataset}", {**size, **figures})


if __name__ == "__main__":
    command.run(main)
