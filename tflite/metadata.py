"""What a `.tflite` says about itself: `python -m tflite.metadata FILE.tflite` prints it.

The converter writes what the spec says into the file as TFLite metadata, which MediaPipe, Android Studio and LiteRT's
tools read: name, description, author, licence and version, how pixels become input values, the channels' labels and
the activation that makes probabilities of them. It is a flatbuffer in one of the model's buffers (metadata_schema.fbs,
version 1.5.0) and, behind the model, a zip archive that holds the labels.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_models import command, models
from keras_models.command import option
from tflite import metadata_schema, runtime

NAME = "TFLITE_METADATA"
SEGMENTER = "SEGMENTER_METADATA"  # what MediaPipe calls its own part
LABELS = "labels.txt"
ALIGNMENT = 64  # of the model's bytes, as of the weights in them, whose own alignment is 16

RGB, TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = 1, 2, 3
ACTIVATIONS = ("none", "sigmoid", "softmax")


def add(content: bytes, spec: dict) -> bytes:
    """The model `content` with what `spec` says of it inside; its own bytes, weights and alignment stay as they are.

    ValueError when it has metadata already.
    """
    if any(entry.Name().decode() == NAME for entry in _entries(content)):
        raise ValueError("The model has TFLite metadata already.")
    model = _with_buffer(content, metadata_schema.write("ModelMetadata", _tables(spec), b"M001"))
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:  # stored, not compressed: readers map the file
        archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(_labels_file(spec)) + "\n")
    return file.getvalue()


def origin(folder: str | Path, network: str, paper: str | None, labels: tuple[str, ...]) -> dict:
    """The spec's description, author and licence of a network, from the card.json or run.json in its `folder`.

    UserError when that is damaged.
    """
    for name in ("card.json", "run.json"):
        if facts := models.record(folder, name):
            break
    with models.reading(Path(folder) / name):
        trained_on = facts.get("trained_on")
        if "options" in facts:
            trained_on = f"{facts['options']['dataset']}, {len(facts['data']['train'])} training photos"
        licence = facts.get("licence") or "not stated; the licences of the training photos and of the network apply"
        found = {"author": facts.get("author") or "PocketSeg", "licence": licence}
        if wrong := [text for text in found.values() if not isinstance(text, str)]:
            raise TypeError(f"{str(wrong[0])[:40]!r} is no text")
    description = f"Finds {', '.join(labels)} in photos. Network: {network}{f' ({paper})' if paper else ''}."
    return {"description": description + (f" Trained on {trained_on}." if trained_on else ""), **found}


def read(path: str | Path) -> dict | None:
    """The metadata of a `.tflite`, by the schema's names, or None when it has none.

    `files` holds the texts behind the model by name. ModelError for a file that is missing or broken.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise runtime.ModelError(f"Cannot read {path}: {error.strerror}.") from error
    if content[4:8] != b"TFL3":
        raise runtime.ModelError(f"{path} is no TFLite model ({len(content)} bytes).")
    try:
        buffers = {entry.Name().decode(): entry.Buffer() for entry in _entries(content)}
        if NAME not in buffers:
            return None
        data = schema.Model.GetRootAs(content).Buffers(buffers[NAME]).DataAsNumpy().tobytes()
        found = metadata_schema.read("ModelMetadata", data)
        for graph in found.get("subgraph_metadata", ()):
            for custom in graph.get("custom_metadata", ()):
                if custom["name"] == SEGMENTER:
                    options = metadata_schema.read("ImageSegmenterOptions", bytes(custom.pop("data")))
                    custom["activation"] = ACTIVATIONS[options.get("activation", 0)]
        return found | {"files": _files(content)}
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, zipfile.BadZipFile) as error:
        raise runtime.ModelError(f"{path} is damaged: its metadata cannot be read ({error}).") from error


def _labels_file(spec: dict) -> list[str]:
    """The labels of the output's values where it gives labels, else of its channels: a single one is the foreground."""
    output = spec["output"]
    return spec["labels"] if output["kind"] == "labels" else spec["labels"][-output["classes"] :]


def _tables(spec: dict) -> dict:
    """The facts of the spec in the metadata's tables."""
    output, kind, axes = spec["output"], spec["output"]["kind"], ["batch", "height", "width"]
    image = {
        "name": "image",
        "description": f"RGB {spec['input']['dtype']}; the real value of a pixel is its byte / 255.",
        "dimension_names": [*axes, "channels"],
        "content": {"content_properties": {"ImageProperties": {"color_space": RGB}}},
        # (byte - mean) / std is the real value.
        "process_units": [{"options": {"NormalizationOptions": {"mean": [0.0], "std": [255.0]}}}],
        "stats": {"max": [1.0], "min": [0.0]},
    }
    labels = {
        "name": LABELS,
        "description": "One label per value." if kind == "labels" else "One label per channel.",
        "type": TENSOR_VALUE_LABELS if kind == "labels" else TENSOR_AXIS_LABELS,
    }
    segmented = {
        "name": kind,
        "description": f"{runtime.told(kind)}{', '.join(_labels_file(spec))}.",
        "dimension_names": [*axes, "classes"],
        "content": {"content_properties": {"ImageProperties": {}}},
        "associated_files": [labels],
    }
    activation = output["activation"] if kind == "logits" else "none"
    options = {"activation": ACTIVATIONS.index(activation), "min_parser_version": "1.0.0"}
    graph = {
        "name": "image segmentation",
        "description": spec["description"],
        "input_tensor_metadata": [image],
        "output_tensor_metadata": [segmented],
        "custom_metadata": [
            {"name": SEGMENTER, "data": metadata_schema.write("ImageSegmenterOptions", options, b"V001")}
        ],
    }
    return {
        "name": spec["name"],
        "description": spec["description"],
        "version": spec["weights_sha256"][:12],
        "subgraph_metadata": [graph],
        "author": spec["author"],
        "license": spec["licence"],
        "min_parser_version": "1.5.0",
    }


def _entries(content: bytes) -> list:
    model = schema.Model.GetRootAs(content)
    return [model.Metadata(i) for i in range(model.MetadataLength())]


def _files(content: bytes) -> dict[str, str]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}


def _with_buffer(content: bytes, data: bytes) -> bytes:
    """`content` with one more buffer, named `NAME`.

    Offsets in a flatbuffer point forwards. So a new root goes in front of the old file, whose bytes stay untouched
    behind it, and points into it: nothing in it is packed again, and a multiple of `ALIGNMENT` keeps it aligned.
    """
    model = schema.Model.GetRootAs(content)
    if any(model.Buffers(i).Offset() > 1 for i in range(model.BuffersLength())):
        raise ValueError("Its weights lie outside the flatbuffer, as only models above 2 GB have them.")
    builder = flatbuffers.Builder(len(content) + len(data) + 4096)
    builder.Prep(ALIGNMENT, 0)
    old = builder.CreateByteVector(content + bytes(-len(content) % ALIGNMENT)) - 4  # where `content` starts

    def target(position: int) -> int:
        """What the offset at `position` of `content` points to, as an offset of the builder."""
        return old - position - int.from_bytes(content[position : position + 4], "little")

    def elements(slot: int) -> list[int]:
        field = model._tab.Offset(4 + 2 * slot)
        if not field:
            return []
        start = model._tab.Vector(field)
        return [target(start + 4 * i) for i in range(model._tab.VectorLen(field))]

    builder.Prep(16, len(data))
    vector = builder.CreateByteVector(data)
    schema.BufferStart(builder)
    schema.BufferAddData(builder, vector)
    buffers = metadata_schema.write_offsets(builder, [*elements(4), schema.BufferEnd(builder)])
    name = builder.CreateString(NAME)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, name)
    schema.MetadataAddBuffer(builder, model.BuffersLength())
    entries = metadata_schema.write_offsets(builder, [*elements(6), schema.MetadataEnd(builder)])
    kept = {slot: model._tab.Offset(4 + 2 * slot) for slot in (1, 2, 3, 5, 7, 8, 9)}
    builder.StartObject(10)
    builder.PrependUint32Slot(0, model.Version(), 0)
    builder.PrependUOffsetTRelativeSlot(4, buffers, 0)
    builder.PrependUOffsetTRelativeSlot(6, entries, 0)
    for slot, field in kept.items():
        if field:
            builder.PrependUOffsetTRelativeSlot(slot, target(model._tab.Pos + field), 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


@dataclass(frozen=True)
class MetadataOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="FILE.tflite", help="the file to read")


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises ModelError for a file that cannot be read."""
    options = command.parse(
        MetadataOptions,
        argv,
        program="python -m tflite.metadata",
        description=__doc__,
        example="python -m tflite.metadata portrait.tflite",
    )
    found = read(options.model)
    if found is None:
        raise runtime.ModelError(f"{options.model} has no TFLite metadata. Convert the network again.")
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    command.run(main)
