"""A trained network to a `.tflite` and its spec: `python tflite/convert.py MODEL --calibration DIR -o OUT.tflite`.

MODEL is a preset's name, a run folder or a `.keras` file. int8 needs photos like those the model will see, to learn how
large each value gets: about 200, unlabelled. Without `--calibration` they are the run's own training photos.

`--quantize qat`, `--prune` and `--cluster`, alone or together, train the network on before it is converted, on the
labelled photos of `--data-dir`. Interrupted, the same command goes on after the last finished epoch.
"""

from __future__ import annotations

import os
import sys

if not __package__:
    # Run as a file: its folder must not be searched for modules, or its inspect.py hides Python's.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib needs it)

import dataclasses
import difflib
import hashlib
import importlib.metadata
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_models import command, data, models, registry
from keras_models.command import UserError, option
from keras_models.models import classes_of, find
from tflite import graph, metadata, runtime
from tflite.graph import rewrite
from tflite.measure import layers
from tflite.quantize import ai_edge, finetune
from tflite.quantize.converter import IO, MODES, RESULT, calibration_inputs, quiet, to_tflite

ENGINES = ("tensorflow", "ai-edge-quantizer")
REPORT_IMAGES = 4


@dataclass(frozen=True)
class ConvertOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset or .keras")
    quantize: str = option(
        "int8", choices=(*MODES, "qat"), help="type of the weights and of the arithmetic; qat is int8, trained for it"
    )
    prune: float | None = option(None, metavar="SPARSITY", help="fine-tune until this share of the weights is zero")
    cluster: int | None = option(None, metavar="N", help="fine-tune until a kernel has no more than N distinct weights")
    dataset: str | None = option(
        None,
        metavar="KIND",
        help="what to fine-tune and calibrate on (default: folder with --data-dir, else what the run trained on)",
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    epochs: int = option(3, help="epochs of each stage of fine-tuning")
    learning_rate: float = option(1e-4, help="of pruning and clustering, at their start; qat begins at a fifth of it")
    batch_size: int = option(24, help="photos per step of fine-tuning")
    calibration: str | None = option(
        None, metavar="DIR", help="folder of photos, or a dataset's (default: the run's training photos)"
    )
    calibration_count: int = option(200, metavar="N", help="how many of the photos to use")
    io: str | None = option(None, choices=IO, help="type of input and output of an int8 model (default: uint8)")
    target: str = option(
        "any",
        choices=rewrite.TARGETS,
        help="layout of an integer model: any is the fastest on CPUs; accelerator is plain and small, for GPUs, NPUs "
        "and Edge TPUs",
    )
    output: str = option("logits", choices=runtime.KINDS, flags=("--output",), help="what comes out of the model")
    fill_contours: bool = option(
        False, help="the spec asks apps to make foreground of what the foreground encloses (EOAM's post-process)"
    )
    engine: str = option("tensorflow", choices=ENGINES, help="what makes int8 of the float graph")
    keep_float: tuple[str, ...] = option((), metavar="LAYERS", help="ai-edge-quantizer: leave these layers float")
    report: str | None = option(None, metavar="FILE.json", help="int8 and int16: write what each layer loses here")
    file: str | None = option(
        None, flags=("-o", "--file"), metavar="OUT.tflite", help="what to write (default: NAME-TYPE.tflite)"
    )


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        ConvertOptions,
        argv,
        program="python tflite/convert.py",
        description=__doc__,
        example="python tflite/convert.py extremec3-eg1800 --quantize int8 --calibration photos -o portrait.tflite",
    )
    int8 = options.quantize in ("int8", "qat")
    integer = int8 or options.quantize == "int16"
    plan = _plan(options)
    if options.io not in (None, "float32") and not int8:
        raise UserError(f"--io {options.io} needs --quantize int8; {options.quantize} models have float32 in and out.")
    if options.calibration_count < 1:
        raise UserError(f"--calibration-count must be 1 or more. Received: {options.calibration_count}")
    if options.report and not integer:
        raise UserError(
            f"--report is of integer models: --quantize int8, qat or int16. Received: --quantize {options.quantize}"
        )
    if plan and options.output != "logits":
        raise UserError(
            "What is fine-tuned is checked on its logits; leave --output away with --quantize qat, --prune and "
            f"--cluster. Received: --output {options.output}"
        )
    if options.target != "any" and not integer:
        raise UserError(
            f"--target {options.target} is of integer models: --quantize int8, qat or int16. "
            f"Received: --quantize {options.quantize}"
        )
    _check_engine(options)
    source = find(options.model)
    output = Path(options.file or f"{_name(options.model, source)}-{options.quantize}.tflite")
    if output.suffix != ".tflite":
        raise UserError(f"The output must end in .tflite; its spec is written beside it. Received: {output}")
    model = models.load(source)
    try:
        network = graph.read(model)
    except ValueError as error:
        raise UserError(str(error)) from error
    calibration, images = _calibration(options, source, model.input_shape[1:3]) if integer else (None, None)
    simple = rewrite.simplify(network, images)
    tuning = None
    if plan:
        tuning = _tuning(options, plan, source, model, simple, images, output)
        simple = tuning.run()
    rewritten = rewrite.give(rewrite.lay_out(simple, options.target) if integer else simple, options.output)
    content = _content(options, rewritten, images)
    with command.whole_file(output) as file, command.whole_file(output.with_suffix(".json")) as spec_file:
        file.write_bytes(content)
        spec = _spec(output.stem, source, model, runtime.load_interpreter(file), calibration)
        spec["fine_tuning"] = dataclasses.asdict(plan) if plan else None
        spec["output"]["kind"] = options.output
        spec["target"] = options.target if integer else None
        spec["fill_contours"] = options.fill_contours
        content = metadata.add(content, spec)
        file.write_bytes(content)
        spec["sha256"] = hashlib.sha256(content).hexdigest()
        spec_file.write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        if options.report:
            _report(options, rewritten, file, images)
    operations = Counter(node.op for node in rewritten)
    print(f"{output}: {len(content) / 1024:.0f} KiB, {options.quantize}, {sum(operations.values())} operations")
    print(f"spec: {output.with_suffix('.json')}")
    status = tuning.finish(output, simple, integer and options.target == "any") if tuning else 0
    where = f"{f' --dataset {options.dataset}' if options.dataset else ''} --data-dir {options.data_dir or 'DIR'}"
    print(f"next: python -m tflite.verify {output} --against {options.model}{where}")
    return status


def _plan(options: ConvertOptions) -> finetune.Plan | None:
    """What to fine-tune, or None; UserError for options that do not fit it."""
    qat = options.quantize == "qat"
    if not qat and options.prune is None and options.cluster is None:
        if options.quantize not in ("int8", "int16") and (options.data_dir or options.dataset):
            raise UserError(
                f"--quantize {options.quantize} uses no photos. --dataset and --data-dir are for int8 and for "
                "fine-tuning: --quantize qat, --prune, --cluster."
            )
        return None
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"The model-optimization toolkit trains with TensorFlow; Keras is set to {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow."
        )
    numbers = options.epochs, options.learning_rate, options.batch_size
    return finetune.Plan(options.prune, options.cluster, qat, *numbers)


def _tuning(options: ConvertOptions, plan, source: Path, model, simple, images, output: Path) -> finetune.Tuning:
    """Everything that fine-tuning needs, read and checked."""
    training, validation = (_dataset(options, source, split) for split in ("train", "val"))
    print(f"fine-tuning on {training.title}, {len(training)} images, chosen by {validation.title}, {len(validation)}")
    if training.title.startswith("drawings"):
        print("warning: fine-tuning on drawings; for photos give --data-dir DIR", file=sys.stderr)
    stage = finetune.last_stage(source, model.name)
    material = finetune.load_material(model, training, validation, images, stage)
    names = (*training.names, *validation.names)
    identity = repr((plan, _weights_digest(model), hashlib.sha256(repr(names).encode()).hexdigest(), options))
    return finetune.Tuning(simple, plan, material, output.with_name(f"{output.stem}-tuning"), identity)


def _dataset(options: ConvertOptions, source: Path, split: str) -> data.Dataset:
    """The split to fine-tune on: the flags', else of the data that the run trained on, else the drawings."""
    if options.dataset or options.data_dir:
        return data.load(options.dataset or "folder", options.data_dir, split)
    run = _trained_on(source)
    return data.load(run.get("dataset", "drawings"), run.get("data_dir"), split)


def _check_engine(options: ConvertOptions) -> None:
    if options.engine == "tensorflow":
        if options.keep_float:
            raise UserError(
                "--keep-float needs --engine ai-edge-quantizer; TensorFlow's converter knows no exceptions."
            )
        return
    if options.quantize != "int8":
        raise UserError(f"--engine {options.engine} makes int8. Received: --quantize {options.quantize}")
    try:
        ai_edge.require()
    except ImportError as error:
        raise UserError(str(error)) from error


def _content(options: ConvertOptions, network: graph.Graph, images) -> bytes:
    """The file's bytes, by the engine that the options name."""
    io, mode = options.io or "uint8", "int8" if options.quantize == "qat" else options.quantize
    if unknown := sorted(set(options.keep_float) - set(network.nodes)):
        close = difflib.get_close_matches(unknown[0], network.nodes, 5)
        raise UserError(f"--keep-float: there is no layer {unknown[0]!r}. Near it: {', '.join(close) or 'none'}")
    try:
        if options.engine == "tensorflow":
            return to_tflite(network, mode, images, io)
        floating = to_tflite(network, "float32")
        kept = tuple(RESULT if name == network.output else name for name in options.keep_float)
        with quiet():
            return ai_edge.quantize(floating, calibration_inputs(images), io, kept)
    except ValueError as error:
        raise UserError(str(error)) from error


def _report(options: ConvertOptions, network: graph.Graph, file: Path, images) -> None:
    """What each tensor loses, by some of the calibration photos: into the file that the options name, and printed."""
    some = images[:: max(1, len(images) // REPORT_IMAGES)][:REPORT_IMAGES]
    try:
        rows = layers.measure(file, network, list(calibration_inputs(some)))
    except ValueError as error:
        raise UserError(str(error)) from error
    report = {"engine": options.engine, "images": len(some), "layers": rows}
    command.write_text(options.report, json.dumps(report, indent=1) + "\n")
    print(f"what each layer loses, on {len(some)} of the calibration images: {options.report}")
    print(layers.table(rows, 5))


def _name(given: str, source: Path) -> str:
    """What to call the file when the user does not: the preset, the run or the `.keras` file."""
    return Path(given).stem if source.stem != "model" or not Path(given).is_file() else source.parent.name


def _calibration(options: ConvertOptions, source: Path, size: tuple[int, int]) -> tuple[dict, np.ndarray]:
    """What the spec says of the photos, and the photos, prepared as in training."""
    photos, title = _photos(options, source)
    names, images = data.calibration_images(photos, options.calibration_count, size)
    print(f"calibration: {len(names)} images of {title}")
    if len(names) < layers.FEW:
        print(f"warning: {len(names)} images are few; with {layers.FEW} or more the ranges are safer", file=sys.stderr)
    brightness = images.mean(axis=(1, 2, 3))
    if len(names) > 1 and brightness.std() < 10:
        print(
            f"warning: the calibration images are alike: all have a brightness near {brightness.mean():.0f} of 255; "
            "add photos in other light",
            file=sys.stderr,
        )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return {"source": title, "count": len(names), "names": names, "sha256": digest}, images


def _photos(options: ConvertOptions, source: Path) -> tuple:
    """Where calibration photos come from: the flag, else the data that the run trained on, else the drawings."""
    if options.calibration is not None:
        if not Path(options.calibration).is_dir():
            raise UserError(f"There is no folder {options.calibration}. --calibration must name a folder of photos.")
        folder = Path(options.calibration).resolve()
        if (folder / "masks").is_dir():  # a whole dataset: what it tests on must not calibrate
            return data.load("folder", folder, "train"), f"{folder.name}, its training split"
        return folder, folder.name
    if options.dataset or options.data_dir:
        dataset = _dataset(options, source, "train")
        return dataset, dataset.title
    trained_on = _trained_on(source)
    if trained_on.get("dataset", "drawings") != "drawings" and Path(trained_on["data_dir"]).is_dir():
        dataset = data.load(trained_on["dataset"], trained_on["data_dir"], "train")
        return dataset, f"{dataset.title}, which the run trained on"
    dataset = data.load("drawings", None, "train")
    if trained_on.get("dataset") != "drawings":
        print("warning: calibrating on drawings; for photos give --calibration DIR", file=sys.stderr)
    return dataset, "the built-in drawings"


def _trained_on(source: Path) -> dict:
    """The options of the run that `source` belongs to; empty without a run."""
    run = source.parent / "run.json"
    return json.loads(run.read_text(encoding="utf-8"))["options"] if run.is_file() else {}


def _spec(name: str, source: Path, model, interpreter, calibration: dict | None) -> dict:
    """The spec that runtime.py describes, without the sha256 of the finished file."""
    classes = model.output_shape[-1]
    labels, colors = classes_of(source, classes)
    described = {
        kind: {
            "height": int(details["shape"][1]),
            "width": int(details["shape"][2]),
            channels: int(details["shape"][3]),
            "dtype": np.dtype(details["dtype"]).name,
            "scale": float(details["quantization"][0]) or 1.0,
            "zero_point": int(details["quantization"][1]),
        }
        for kind, channels, details in (
            ("input", "channels", interpreter.get_input_details()[0]),
            ("output", "classes", interpreter.get_output_details()[0]),
        )
    }
    _check_input(described["input"])
    paper = registry.network(model.name).paper if model.name in registry.names() else None
    return {
        "format": 1,
        "name": name,
        "network": model.name,
        "paper": paper,
        **metadata.origin(source.parent, model.name, paper, labels),
        "input": described["input"] | {"color_order": "RGB"},
        "output": described["output"] | {"kind": "logits", "activation": "sigmoid" if classes == 1 else "softmax"},
        "labels": list(labels),
        "colors": colors,
        "threshold": 0.5,
        "accuracy": None,
        "calibration": calibration,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
        | {"pocketseg": _own_version()},
        "weights_sha256": _weights_digest(model),
    }


def _weights_digest(model) -> str:
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _check_input(described: dict) -> None:
    zero_point = {"uint8": 0, "int8": -128}.get(described["dtype"])
    if zero_point is not None and (abs(described["scale"] * 255 - 1) > 1e-6 or described["zero_point"] != zero_point):
        raise UserError(
            f"The converter gave the input the scale {described['scale']} and zero point {described['zero_point']} "
            f"instead of 1/255 and {zero_point}: an operation beside it forces its own scale on it. Nothing is written."
        )


def _own_version() -> str | None:
    try:
        return importlib.metadata.version("pocketseg")
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    command.run(main)
