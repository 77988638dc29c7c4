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
import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_models import command
from keras_models.command import UserError, option
from tflite import metadata, photos, runtime, spec
from tflite.graph import Graph, check, passes, read, rewrite
from tflite.measure import layers
from tflite.quantize import ai_edge, repair
from tflite.quantize.converter import IO, MODES, RESULT, calibration_inputs, quiet, to_tflite
from tflite.quantize.ends import for_xnnpack

if TYPE_CHECKING:
    import numpy as np

    from tflite.quantize.finetune import Tuning
    from tflite.quantize.plan import Plan

ENGINES = ("tensorflow", "ai-edge-quantizer")
REPORT_IMAGES = 4


@dataclass(frozen=True)
class ConvertOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset or .keras")
    quantize: str = option(
        "int8", choices=(*MODES, "qat"), help="type of the weights and of the arithmetic; qat is int8, trained for it"
    )
    input_size: tuple[int, ...] | None = option(
        None,
        least=1,
        most=8192,
        metavar="SIDE | HEIGHT,WIDTH",
        help="another input than the model's: a smaller one is faster and coarser; verify says by how much",
    )
    prune: float | None = option(None, metavar="SPARSITY", help="fine-tune until this share of the weights is zero")
    cluster: int | None = option(None, metavar="N", help="fine-tune until a kernel has no more than N distinct weights")
    dataset: str | None = option(
        None,
        metavar="KIND",
        help="what to fine-tune and calibrate on (default: folder with --data-dir, else what the run trained on); "
        "drawings needs no folder",
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
    output: str | None = option(
        None,
        choices=runtime.KINDS,
        flags=("--output",),
        help="what comes out of the model (default: logits, or probabilities where the network makes them on its way)",
    )
    fill_contours: str | None = option(
        None,
        choices=runtime.FILLS,
        help="the spec asks apps to make foreground of what the foreground encloses: in all its regions, or in the "
        "largest (EOAM's poster)",
    )
    engine: str = option("tensorflow", choices=ENGINES, help="what makes int8 of the float graph")
    keep_float: tuple[str, ...] = option((), metavar="LAYERS", help="ai-edge-quantizer: leave these layers float")
    report: str | None = option(
        None, metavar="FILE.json", writes=(), help="int8 and int16: write what each layer loses here"
    )
    file: str | None = option(
        None, flags=("-o", "--file"), metavar="OUT.tflite", writes=(), help="what to write (default: NAME-TYPE.tflite)"
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
    if plan and options.output not in (None, "logits"):
        raise UserError(
            "What is fine-tuned is checked on its logits; omit --output with --quantize qat, --prune and --cluster. "
            f"Received: --output {options.output}"
        )
    if options.target != "any" and not integer:
        raise UserError(
            f"--target {options.target} is of integer models: --quantize int8, qat or int16. "
            f"Received: --quantize {options.quantize}"
        )
    _check_engine(options)
    from keras_models import models
    from keras_models.training.recipes import sides

    source = models.find(options.model)
    output = Path(options.file or f"{_name(options.model, source)}-{options.quantize}.tflite")
    if output.suffix != ".tflite":
        raise UserError(f"The output must end in .tflite; its spec is written beside it. Received: {output}")
    if options.report and Path(options.report).absolute() == output.with_suffix(".json").absolute():
        raise UserError(f"{options.report} is the place of the spec of {output}. Choose another --report.")
    model = models.load(source, sides(options.input_size) if options.input_size else None)
    try:
        network = read(model)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    size = model.input_shape[1:3]
    calibration, images = None, None
    if integer:
        folder = options.calibration, options.dataset, options.data_dir
        calibration, images = photos.calibration(source, *folder, options.calibration_count, size)
    seen = check.test_images(size)
    worst = check.with_keras(model, seen)
    bare = passes.drop_final_activation(network)
    kind = _kind(options, bare)
    simple = rewrite.simplify(network, images)
    laid_out = rewrite.lay_out(simple, options.target) if integer else simple
    worst = max(worst, check.rewritten(bare, laid_out, seen, rewrite.steps(images, options.target)))
    given = rewrite.give(laid_out, kind)
    if unknown := sorted(set(options.keep_float) - set(given.nodes)):
        close = difflib.get_close_matches(unknown[0], given.nodes, 5)
        raise UserError(f"--keep-float: there is no layer {unknown[0]!r}. Near it: {', '.join(close) or 'none'}")
    tuning = None
    if plan:
        tuning = _tuning(options, plan, source, model, simple, images, output)
        simple = tuning.run()
        laid_out = rewrite.lay_out(simple, options.target) if integer else simple
        given = rewrite.give(laid_out, kind)
    worst = max(worst, _check_float(laid_out, seen))
    print(f"the same function as in Keras, to {worst:.0e} of the largest value")
    content, final = _content(options, given, images)
    with command.whole_file(output) as file, command.whole_file(output.with_suffix(".json")) as spec_file:
        file.write_bytes(content)
        facts = spec.make(output.stem, source, model, runtime.load_interpreter(file), calibration)
        facts["fine_tuning"] = dataclasses.asdict(plan) if plan else None
        facts["output"]["kind"] = kind
        facts["target"] = options.target if integer else None
        facts["fill_contours"] = options.fill_contours or False
        content = metadata.add(content, facts)
        file.write_bytes(content)
        facts["sha256"] = hashlib.sha256(content).hexdigest()
        spec_file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if options.report:
            _report(options, final, file, images)
    operations = Counter(node.op for node in final)
    print(f"{output}: {len(content) / 1024:.0f} KiB, {options.quantize}, {sum(operations.values())} operations")
    print(f"spec: {output.with_suffix('.json')}")
    status = tuning.finish(output, simple, integer and options.target == "any") if tuning else 0
    where = f"{f' --dataset {options.dataset}' if options.dataset else ''} --data-dir {options.data_dir or 'DIR'}"
    print(f"next: python -m tflite.verify {output} --against {options.model}{where}")
    return status


def _kind(options: ConvertOptions, network: Graph) -> str:
    """What comes out of the file; UserError where the network cannot give that."""
    shape = network.nodes[network.output].shape
    if len(shape) not in (1, 3):
        raise UserError(
            f"{network.name!r} gives {shape}; the conversion takes networks that give (height, width, classes) or "
            "(classes,)."
        )
    if options.output == "labels" and shape[-1] > 256:
        raise UserError(f"--output labels has room for 256 classes in uint8; {network.name!r} has {shape[-1]}.")
    if not passes.gives_probabilities(network):
        return options.output or "logits"
    if options.output == "logits":
        raise UserError(
            f"{network.name!r} makes probabilities and goes on with them, so it has no logits to give. Omit --output, "
            "or give --output probabilities or labels."
        )
    return options.output or "probabilities"


def _check_float(network: Graph, images: np.ndarray) -> float:
    """The difference of the float file of `network` from it; DifferenceError when it is another function."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "float.tflite"
        file.write_bytes(to_tflite(network, "float32"))
        return check.float_file(file, network, images)


def _plan(options: ConvertOptions) -> Plan | None:
    """What to fine-tune, or None; UserError for options that do not fit it."""
    qat = options.quantize == "qat"
    if not qat and options.prune is None and options.cluster is None:
        if options.quantize not in ("int8", "int16") and (options.data_dir or options.dataset):
            raise UserError(
                f"--quantize {options.quantize} uses no photos. --dataset and --data-dir are for int8 and for "
                "fine-tuning: --quantize qat, --prune, --cluster."
            )
        return None
    import keras

    from tflite.quantize.plan import Plan

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"The model-optimization toolkit trains with TensorFlow; Keras is set to {keras.backend.backend()}. Set "
            "KERAS_BACKEND=tensorflow."
        )
    numbers = options.epochs, options.learning_rate, options.batch_size
    return Plan(options.prune, options.cluster, qat, *numbers)


def _tuning(options: ConvertOptions, plan, source: Path, model, simple, images, output: Path) -> Tuning:
    """Everything that fine-tuning needs, read and checked."""
    from tflite.quantize import finetune

    which = source, options.dataset, options.data_dir
    training, validation = (photos.labelled(*which, split) for split in ("train", "val"))
    print(f"fine-tuning on {training.title}, {len(training)} images, chosen by {validation.title}, {len(validation)}")
    stage = finetune.last_stage(source, model.name)
    material = finetune.load_material(model, training, validation, images, stage)
    names = (*training.names, *validation.names)
    seen = None if images is None else images.tobytes()
    began = plan, stage, spec.weights_digest(model), model.input_shape, names, seen
    identity = hashlib.sha256(repr(began).encode()).hexdigest()
    return finetune.Tuning(simple, plan, material, output.with_name(f"{output.stem}-tuning"), identity)


def _check_engine(options: ConvertOptions) -> None:
    if options.engine == "tensorflow":
        if options.keep_float:
            raise UserError(
                "--keep-float needs --engine ai-edge-quantizer; TensorFlow's converter knows no exceptions."
            )
        return
    if options.quantize != "int8":
        raise UserError(f"--engine {options.engine} makes int8. Received: --quantize {options.quantize}")
    ai_edge.require()


def _content(options: ConvertOptions, network: Graph, images) -> tuple[bytes, Graph]:
    """The file's bytes, by the engine that the options name, and the graph that they were made of."""
    io, mode = options.io or "uint8", "int8" if options.quantize == "qat" else options.quantize
    if options.engine == "tensorflow" and mode == "int8":
        return repair.to_int8(network, images, io, options.target, whole=options.quantize == "qat")
    if options.engine == "tensorflow":
        return to_tflite(network, mode, images, io), network
    floating = to_tflite(network, "float32")
    kept = tuple(RESULT if name == network.output else name for name in options.keep_float)
    with quiet():
        content = ai_edge.quantize(floating, calibration_inputs(images), io, kept)
    return for_xnnpack(content) if options.target == "any" else content, network


def _report(options: ConvertOptions, network: Graph, file: Path, images) -> None:
    """What each tensor loses, by some of the calibration photos: into the file that the options name, and printed."""
    some = images[:: max(1, len(images) // REPORT_IMAGES)][:REPORT_IMAGES]
    rows = layers.measure(file, network, list(calibration_inputs(some)))
    report = {"engine": options.engine, "images": len(some), "layers": rows}
    command.write_text(options.report, json.dumps(report, indent=1) + "\n")
    print(f"what each layer loses, on {len(some)} of the calibration images: {options.report}")
    print(layers.table(rows, 5))


def _name(given: str, source: Path) -> str:
    """What to call the file when the user does not: the preset, the run or the `.keras` file."""
    return Path(given).stem if source.stem != "model" or not Path(given).is_file() else source.absolute().parent.name


if __name__ == "__main__":
    command.run(main)
