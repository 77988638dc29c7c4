"""Fine-tuning before conversion: pruning, clustering and quantization-aware training, one stage after the other.

Each stage starts from the best epoch of the one before, by the validation split, and keeps the zeros and the clusters
that it made. What is trained is the rewritten graph, through the model-optimization toolkit (see bridge.py): with
batch normalisation folded, and for int8 with the ranges that the converter will measure, on the same photos. So the
rounding that training sees is the rounding of the file.

The toolkit's layers are those of tf_keras, which Keras 3 cannot fit. So there is a loop of steps here beside the one in
keras_models/training; batches, losses, metrics and the file of a checkpoint are the same.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_models import command, data, losses, metrics, models, registry
from keras_models.command import UserError
from keras_models.data import pipeline
from keras_models.data.augment import Augmentation
from keras_models.training import runs
from tflite.graph import Graph
from tflite.quantize import tuned
from tflite.quantize.bridge import Bridge, Ranges, Technique
from tflite.quantize.converter import calibration_inputs
from tflite.quantize.plan import Material, Plan, iou, iou_name

QAT_RATE = 0.2  # of the learning rate: a network that is as it shall be needs no more than to get used to the rounding
LOSS = "cross_entropy_iou"  # calibrated logits and smooth gradients, whatever loss the network was trained with


def load_material(model, training: data.Dataset, validation: data.Dataset, calibration, stage: dict) -> Material:
    """Decode what fine-tuning the Keras network `model` needs. UserError when the data has more classes than it.

    `calibration`: RGB uint8 (n, height, width, 3) for int8, else None. `stage`: see `last_stage`.
    """
    classes = len(training.class_names)
    if classes > max(2, model.output_shape[-1]):
        raise UserError(
            f"{training.title} has {classes} classes, {model.name} gives {model.output_shape[-1]}. Choose the dataset "
            "that the network was trained on."
        )
    for dataset in (training, validation):
        data.require_foreground(dataset)
    sizes = {"input_size": model.input_shape[1:3], "label_size": model.output_shape[1:3]}
    return Material(
        pipeline.cache(training, sizes["input_size"], command.progress(f"reading {training.title}")),
        pipeline.evaluation_batches(validation, batch_size=16, **sizes),
        None if calibration is None else np.concatenate(list(calibration_inputs(calibration))),
        classes,
        **sizes,
        augmentation=replace(stage["augmentation"], mirrored=training.mirrored),
        edge_class=stage["edge_class"],
    )


def last_stage(source: Path, network: str) -> dict:
    """`augmentation` and `edge_class` of the last stage that the network at `source` was trained with.

    Without a record of it they are those of the network's last recipe. UserError for a damaged record.
    """
    for name in ("run.json", "card.json"):
        if recipe := models.record(source.parent, name).get("recipe"):
            with models.reading(source.parent / name):
                stage = recipe["stages"][-1]
                values = {k: tuple(v) if isinstance(v, list) else v for k, v in stage["augmentation"].items()}
                return {"augmentation": Augmentation(**values), "edge_class": stage.get("edge_class", 0)}
    if network not in registry.names():
        return {"augmentation": Augmentation(), "edge_class": 0}
    stage = list(registry.network(network).recipes.values())[-1].stages[-1]
    return {"augmentation": stage.augmentation, "edge_class": stage.edge_class}


class Tuning:
    """Runs a Plan on a Graph. After each epoch all that an exact continuation needs is in `folder`/checkpoint.npz.

    `identity` says of what the checkpoint is: model, data and options; another's is refused.
    """

    def __init__(self, graph: Graph, plan: Plan, material: Material, folder: Path, identity: str):
        self.graph, self.plan, self.material, self.folder, self.identity = graph, plan, material, folder, identity
        self.batch_size = min(plan.batch_size, len(material.samples))
        self.steps = len(material.samples) // self.batch_size
        self.kind = iou_name(material.classes)
        self.durations: list[float] = []

    def run(self) -> Graph:
        """The graph with its new weights. Ctrl-C says how to go on, and passes through."""
        try:
            return self._run()
        except KeyboardInterrupt:
            print(f"\nEvery finished epoch is kept in {self.folder}. To go on, repeat the command.", flush=True)
            raise

    def _run(self) -> Graph:
        state, stages = self._read(), self.plan.stages()
        graph = self.graph
        for number, (title, technique) in enumerate(stages, start=1):
            if state is not None and number < state["stage"]:
                continue
            if state is not None:
                graph = _with_weights(self.graph, state["start"])
            print(f"stage {number} of {len(stages)}: {title}, {self.plan.epochs} epochs", flush=True)
            graph = self._run_stage(number, len(stages), graph, technique, state)
            state = None
        return graph

    def _run_stage(self, number: int, count: int, start: Graph, technique: Technique, state: dict | None) -> Graph:
        import tensorflow as tf

        plan, total = self.plan, self.plan.epochs * self.steps
        built = Bridge(start, technique, total)
        rate = plan.learning_rate * (QAT_RATE if technique.int8 else 1)
        optimizer, loss_of = built.optimizer(rate, total), losses.get(LOSS)
        ranges = Ranges(start, self.material.calibration) if technique.int8 else None

        @tf.function(autograph=False)
        def train(images, labels):
            with tf.GradientTape() as tape:
                loss = loss_of(labels, built.model(tf.cast(images, tf.float32) / 255, training=True))
            gradients = zip(tape.gradient(loss, built.trainable), built.trainable, strict=True)
            optimizer.apply_gradients([(gradient, v) for gradient, v in gradients if gradient is not None])
            return loss

        predict = tf.function(lambda images: built.model(images, training=False), autograph=False)
        variables = [*built.variables, *optimizer.variables]
        if state is not None:
            for variable, value in zip(variables, state["training"], strict=True):
                variable.assign(value)
            first, best = state["epoch"], state["best"]
            best_graph = _with_weights(start, state["best_graph"])
        else:
            if ranges:
                built.set_up(self.material.calibration[: self.batch_size], ranges.of(start))
            first, best, best_graph = 0, -1.0, start
            if built.is_valid_after(0):
                best, best_graph = self._validate(predict), built.graph()
                print(f"before training: val {self.kind} {best:.4f}", flush=True)
        batches = iter(
            pipeline.training_batches(
                self.material.samples,
                self.material.input_size,
                self.material.label_size,
                self.batch_size,
                self.material.augmentation,
                seed=number,
                first_epoch=first,
                edge_class=self.material.edge_class,
            )
        )
        for epoch in range(first + 1, plan.epochs + 1):
            started, history = time.monotonic(), []
            show = command.progress(f"epoch {epoch}/{plan.epochs}")
            for step in range(1, self.steps + 1):
                history.append(float(train(*next(batches))))
                if not np.isfinite(history[-1]):
                    raise UserError(f"The loss is {history[-1]} at step {step}: give a lower --learning-rate.")
                show(step, self.steps)
            built.end_epoch()
            current = built.graph()
            if ranges:
                built.set_ranges(ranges.of(current))
            found = self._validate(predict)
            if built.is_valid_after(epoch * self.steps) and found > best:
                best, best_graph = found, current
            arrays = {
                "start": _weights(start),
                "best_graph": _weights(best_graph),
                "training": [variable.numpy() for variable in variables],
            }
            self._save(number, epoch, best, arrays)
            self.durations.append(time.monotonic() - started)
            left = np.median(self.durations) * (plan.epochs * (count - number + 1) - epoch)
            kept = f"best {best:.4f}" if best >= 0 else "not yet as sparse as asked"
            print(
                f"epoch {epoch}/{plan.epochs}  loss {np.mean(history):.4f}  val {self.kind} {found:.4f}  ({kept})  "
                f"{self.durations[-1]:.0f} s, {left / 60:.0f} min left",
                flush=True,
            )
        return best_graph

    def _validate(self, predict) -> float:
        metric = iou(self.material.classes)
        for images, labels in self.material.validation:
            logits = predict(np.asarray(images) / np.float32(255))
            metric.update_state(labels, metrics.without_void(logits, self.material.classes))
        return float(metric.result())

    def _save(self, stage: int, epoch: int, best: float, arrays: dict[str, list[np.ndarray]]) -> None:
        facts = {"identity": self.identity, "stage": stage, "epoch": epoch, "best": best}
        runs.write_state(self.folder / "checkpoint.npz", facts, arrays)

    def _read(self) -> dict | None:
        state = runs.read_state(self.folder / "checkpoint.npz")
        if state is None:
            return None
        if state["identity"] != self.identity:
            raise UserError(
                f"{self.folder} holds an unfinished fine-tuning of another model, with other data or other options. "
                "Repeat the command that began it, delete the folder, or choose another --file."
            )
        print(f"going on in {self.folder} after epoch {state['epoch']} of stage {state['stage']}")
        return state

    def finish(self, path: Path, graph: Graph, laid_out: bool) -> int:
        """Measure the file made from the tuned graph, say what it is, remove the work folder; 1 if a check fails."""
        figures, missing = tuned.measure(path, graph, self.plan, self.material, laid_out)
        print(tuned.report(figures))
        shutil.rmtree(self.folder, ignore_errors=True)
        for line in missing:
            print(f"FAILED: {line}")
        return 1 if missing else 0


def _weights(graph: Graph) -> list[np.ndarray]:
    return [node.weights[name] for node in graph for name in sorted(node.weights)]


def _with_weights(graph: Graph, arrays: list[np.ndarray]) -> Graph:
    graph, left = graph.copy(), iter(arrays)
    for node in graph:
        if node.weights:
            graph.replace(node, node.but(**{name: next(left) for name in sorted(node.weights)}))
    return graph
