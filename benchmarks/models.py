"""Every form of one network side by side, by the project's own commands.

`python -m benchmarks.models extremec3-eg1800 --dataset eg1800 --data-dir DIR` converts the network to float32, float16,
dynamic range, int8 after training (in each layout) and int8 with quantization-aware training, prunes it and clusters
it, all on the training split of --data-dir; measures each on the test split, counts operations outside int8, and times
all of them in one interleaved run. Writes results/models-NAME.json. What was made stays in --folder.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, steps
from keras_models import command
from keras_models.command import option

FORMS = {
    "float32": ["--quantize", "float32"],
    "float16": ["--quantize", "float16"],
    "dynamic": ["--quantize", "dynamic"],
    "int8": ["--quantize", "int8"],
    "int8, plain layout": ["--quantize", "int8", "--target", "accelerator"],
    "int8, QAT": ["--quantize", "qat"],
    "int8, half pruned": ["--quantize", "int8", "--prune", "0.5"],
    "int8, 16 clusters": ["--quantize", "int8", "--cluster", "16"],
}
FOUND = ("float_ops", "space_to_batch", "delegated", "total", "partitions", "peak_bytes")


@dataclass(frozen=True)
class ModelsOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset or .keras")
    dataset: str = option("eg1800", help="kind of dataset")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    epochs: int = option(3, help="epochs of each fine-tuning")
    runs: int = option(200, help="timed runs per model")
    folder: str = option("build/models", metavar="DIR", help="where the .tflite files go")


def main(argv: list[str] | None = None) -> None:
    """Convert, evaluate, inspect and time; print and write the table."""
    options = command.parse(
        ModelsOptions,
        argv,
        program="python -m benchmarks.models",
        description=__doc__,
        example="python -m benchmarks.models extremec3-eg1800 --dataset eg1800 --data-dir eg1800",
    )
    data_dir = [str(Path(options.data_dir).resolve())] if options.data_dir else []
    where = ["--dataset", options.dataset, *(["--data-dir", *data_dir] if data_dir else [])]
    name, folder, rows = Path(options.model).stem, Path(options.folder).resolve(), []
    files = [folder / f"{name}-{'-'.join(arguments[1::2])}.tflite" for arguments in FORMS.values()]
    for (form, arguments), file in zip(FORMS.items(), files, strict=True):
        tuned = bool({"qat", "--prune", "--cluster"} & set(arguments))
        photos = where if {"int8", "qat"} & set(arguments) else []
        photos = [*photos, *(["--epochs", options.epochs] if tuned else [])]
        steps.run("tflite/convert.py", options.model, *arguments, *photos, "-o", file, lost="table")
        found = steps.figures("-m", "tflite.inspect", file, lost="table")
        measured = steps.figures("-m", "keras_models.evaluate", file, *where, lost="table")
        sizes = {"bytes": file.stat().st_size, "gzip_bytes": len(gzip.compress(file.read_bytes(), mtime=0))}
        rows.append({"form": form, **sizes, **{key: found[key] for key in FOUND}, **measured})
    timed = steps.figures("-m", "tflite.benchmark", *files, "--threads", "1,2", "--runs", options.runs, lost="table")
    for row, file in zip(rows, files, strict=True):
        for run in timed["runs"]:
            if Path(run["model"]).name == file.name:
                row[f"median_ms_{run['threads']}"] = run["median_ms"]
    for row in rows:
        for threads in (1, 2):
            row[f"speedup_{threads}"] = rows[0][f"median_ms_{threads}"] / row[f"median_ms_{threads}"]
        print(f"{row['form']:8s} foreground IoU {row['foreground_iou']:.4f}  {row['median_ms_1']:.2f} ms")
    protocol = (
        f"{rows[0]['images']} test photos of {options.dataset}; fine-tuning of {options.epochs} epochs on its training "
        f"split; medians of {options.runs} interleaved runs"
    )
    machine.write(f"models-{name}", {"model": name, "protocol": protocol, "forms": rows})


if __name__ == "__main__":
    command.run(main)
