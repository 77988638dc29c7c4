"""What is inside a `.tflite`: operations, types and shapes, float islands, what delegates take and why not, memory.

`python -m tflite.inspect MODEL.tflite`; `--html` writes it as one page with the graph. With `--rewrites MODEL` it
prints instead what each rewrite does to a network (a preset, run folder or `.keras`) on its way to int8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from keras_models import command
from keras_models.command import UserError, option
from tflite import runtime
from tflite.measure.contents import inspect


@dataclass(frozen=True)
class InspectOptions:
    """The command's flags."""

    model: str | None = option(None, positional=True, metavar="MODEL.tflite", help="the file to look into")
    json: str | None = option(None, metavar="FILE", help="write the figures here")
    html: str | None = option(None, metavar="FILE", help="write a page with the graph here")
    profile: bool = option(False, help="add the time that each operation takes on this machine")
    every: bool = option(False, flags=("--list",), help="list every operation in order")
    rewrites: str | None = option(None, metavar="MODEL", help="print what each rewrite does to this network")
    target: str = option("any", choices=("any", "accelerator"), help="with --rewrites: as of convert.py")


def report(found: dict, every: bool = False) -> str:
    """The figures as text; with `every`, each operation in order."""
    lines = [f"{found['model']}: {found['bytes'] / 1024:.0f} KiB, {found['input']} in, {found['output']} out"]
    if found["metadata"]:
        facts = found["metadata"]
        lines.append(f"metadata: {facts['name']} {facts['version'] or ''}, labels {', '.join(facts['labels'])}")
    for name, count in sorted(found["ops"].items(), key=lambda item: -item[1]):
        alike = [operation for operation in found["operations"] if operation["name"] == name]
        types = sorted({text.split()[0] for operation in alike for text in operation["outputs"]})
        left = sum(not operation["delegated"] for operation in alike)
        macs = sum(operation["macs"] for operation in alike)
        share = f"{macs / found['macs']:6.1%} of MACs  " if macs else " " * 16
        lines.append(f"  {name:24s}{count:4d}  {', '.join(types):16s}{share}" + (f"{left} not in XNNPACK" * bool(left)))
    if every:
        lines.append(f"  {'':4s} {'operation':20s} {'MACs':>11s} {'weights':>8s}  values in memory  layer: in -> out")
    for operation in found["operations"] if every else ():
        facts = "".join(f" {key}={_short(value)}" for key, value in operation["attributes"].items())
        scale = operation["quantization"]
        scale = f" scale {scale['scale']:.4g}, zero {scale['zero_point']}" if scale else ""
        lines.append(
            f"  {operation['index']:4d} {operation['name']:20s} {operation['macs']:11,d} {operation['parameters']:8,d} "
            f"{operation['live_bytes'] / 1024:10.0f} KiB  {operation['layer']}: "
            f"{', '.join(operation['inputs'])} -> {', '.join(operation['outputs'])}{scale}{facts}"
            + "".join(
                f" [{who}: {why}]" for who, why in operation["refused"].items() if found["delegates"][who]["takes"]
            )
        )
    lines.append(
        f"{found['parameters']:,} weights, {found['macs'] / 1e6:.1f} million multiply-accumulates; values take "
        f"{found['peak_bytes'] / 1024:.0f} KiB at most, at {_named(found, found['peak_at'])}"
    )
    for island in found["float_islands"]:
        lines.append(f"float island: {len(island['operations'])} operations, {island['begins']} to {island['ends']}")
    for delegate, figures in found["delegates"].items():
        lines.append(
            f"{delegate} ({figures['basis']}): takes {figures['takes']} of {found['total']} "
            f"in {figures['partitions']} partition(s)"
        )
        for reason, names in figures["leaves"].items():
            left = ", ".join(f"{count} {name}" for name, count in names.items())
            if sum(names.values()) == found["total"]:
                left = "all"
            lines.append(f"    leaves {left}: {reason}")
    lines.append(
        f"{found['total']} operations, {found['float_ops']} of them in float, {found['space_to_batch']} SPACE_TO_BATCH;"
        f" XNNPACK takes {found['delegated']} in {found['partitions']} partition(s)"
    )
    return "\n".join(lines)


def _named(found: dict, index: int) -> str:
    operation = found["operations"][index]
    return f"{index} {operation['name']} {operation['layer']}"


def _short(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError, or ModelError for a file that cannot be read."""
    options = command.parse(
        InspectOptions,
        argv,
        program="python -m tflite.inspect",
        description=__doc__,
        example="python -m tflite.inspect extremec3-eg1800-int8.tflite --html found.html",
    )
    if bool(options.model) == bool(options.rewrites):
        raise UserError("Give either MODEL.tflite or --rewrites MODEL.")
    if options.rewrites:
        from keras_models import models
        from tflite import graph
        from tflite.graph import rewrite

        print(rewrite.report(graph.read(models.load(options.rewrites)), options.target))
        return 0
    runtime.require_writable(options.json, options.html)
    found = inspect(options.model)
    print(report(found, options.every))
    if options.profile:
        from tflite.measure import profiler

        profile = profiler.profile(options.model)
        print(profiler.report(profile))
        times = {operation["index"]: operation["ms"] for operation in profile["operations"]}
        for operation in found["operations"]:
            operation["ms"] = times.get(operation["index"], 0.0)
    if options.json:
        command.write_text(options.json, json.dumps(found, indent=1) + "\n")
    if options.html:
        from tflite.measure import page

        command.write_text(options.html, page.render(found))
        print(f"page: {options.html}")
    return 0


if __name__ == "__main__":
    command.run(main)
