"""Write the tables of README.md and docs/ from `results/`: `python -m benchmarks.report`.

Each table stands between `<!-- NAME -->` and `<!-- end -->` in its page and is replaced whole.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks import markdown
from benchmarks.ablation_tables import TABLES
from benchmarks.ablations import markdown as ablation_table
from benchmarks.backbones import table as backbones_table
from benchmarks.drawing import table as drawing_table
from benchmarks.edges import table as edges_table
from benchmarks.machine import RESULTS
from benchmarks.search import table as search_table
from benchmarks.sets import in_words
from benchmarks.speed import table as speed_table
from keras_models import command, models, registry
from keras_models.command import UserError, option
from keras_models.evaluate import main_figure, without_background
from keras_models.papers.report import as_markdown

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class ReportOptions:
    """The command's flags."""

    pages: tuple[str, ...] = option(
        (), positional=True, metavar="PAGE", help="README.md or docs/PAGE.md (default: all)"
    )


def main(argv: list[str] | None = None) -> int:
    """Fill every table whose results are there; a marker without results is an error."""
    options = command.parse(
        ReportOptions,
        argv,
        program="python -m benchmarks.report",
        description=__doc__,
        example="python -m benchmarks.report docs/results.md",
    )
    if unknown := set(options.pages) - set(PAGES):
        raise UserError(f"Unknown pages. Valid names: {', '.join(PAGES)}. Received: {', '.join(sorted(unknown))}")
    for page in options.pages or PAGES:
        tables = PAGES[page]
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, table in tables.items():
            block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            if len(block.findall(text)) != 1:
                raise UserError(f"{page} needs the markers of the table {name!r} exactly once.")
            start, end = block.search(text).span()
            before, after = block.search(text).groups()
            text = f"{text[:start]}{before}{table()}\n{after}{text[end:]}"
        command.write_text(ROOT / page, text)
        print(f"wrote {page}")
    return 0


def _read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _accuracies(several: bool) -> list[dict]:
    """The results/accuracy-*.json of data with more than two classes, or of the others."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("accuracy-*.json"))]
    return [result for result in results if (len(result["class_iou"]) > 2) == several]


def classes() -> str:
    """IoU of each class of the networks trained on data of several classes."""
    tables = []
    for r in _accuracies(several=True):
        without = without_background(r["class_iou"]) if "background" in r["class_iou"] else None
        ious = [("mean", r["mean_iou"]), ("mean without background", without), *r["class_iou"].items()]
        cells = ["-" if iou is None else f"{iou:.3f}" for _, iou in ious]
        size = "x".join(map(str, r["input_size"]))
        title = f"{r['title']}, {r['parameters']:,} parameters, {size}; {r['images']} photos of {r['data']}:"
        tables.append(f"{title}\n\n{markdown.table([name for name, _ in ious], [cells])}")
    return "\n\n".join(tables)


def accuracy() -> str:
    """Accuracy of the trained networks, one row per results/accuracy-*.json."""
    results = _accuracies(several=False)
    rows = [
        [r["title"], f"{r['parameters']:,}", f"{r['macs'] / 1e9:.4f} G", r["data"], r["images"]]
        + [f"{r[key]:.4f}" for key in ("foreground_iou", "mean_iou", "boundary_iou")]
        for r in results
    ]
    header = ["network", "parameters", "MACs", "data", "images", "foreground IoU", "mean IoU", "boundary IoU"]
    return markdown.table(header, rows)


def presets() -> str:
    """Every preset, as its card and its int8 file say."""
    rows = []
    for name in models.preset_names():
        folder = ROOT / "keras_models" / "presets" / name
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        found = {title: figures["int8"] for title, figures in card["figures"].items()}
        classes = next(iter(found.values()))["class_iou"]
        key = main_figure(len(classes))
        said = (f"{title} {100 * each[key]:.1f}" for title, each in found.items())
        size = (folder / f"{name}-int8.tflite").stat().st_size
        sides = "x".join(map(str, card["input_size"]))
        rows.append(
            [
                f"`{name}`",
                ", ".join(title for title in classes if title != "background"),
                sides,
                f"{card['parameters']:,}",
                f"{size / 1024:.0f} KiB",
                ", ".join(said),
            ]
        )
    header = ["preset", "finds", "input", "parameters", "int8", "IoU in %, int8"]
    return markdown.table(header, rows, words=2)


def peers() -> str:
    """Ours beside other people's models: accuracy per set, milliseconds, size, licence."""
    result = _read("peers")
    protocol, rows = result["protocol"], []
    for row in result["peers"]:
        name = f"**{row['name']}**" if row["ours"] else row["name"]
        accuracies = [f"{100 * figures['foreground_iou']:.1f}" for figures in row["sets"].values()]
        boundaries = [f"{100 * figures['boundary_iou']:.1f}" for figures in row["sets"].values()]
        model = "-" if row["model_ms"] is None else f"{row['model_ms']:.2f}"
        cells = [f"{a} ({b})" for a, b in zip(accuracies, boundaries, strict=True)]
        licence = re.split("[,:;]", row["licence"])[0]  # what follows are the reasons, photo by photo
        rows.append([name, *cells, model, f"{row['frame_ms']:.1f}", f"{row['bytes'] / 1024:.0f} KiB", licence])
    header = ["model", *protocol["sets"], "model, ms", "frame, ms", "size", "licence of the weights"]
    sets = in_words(protocol["sets"])
    size, frame = ("x".join(map(str, sides)) for sides in (protocol["size"], reversed(protocol["frame"])))
    return markdown.table(header, rows) + (
        f"\n\nForeground IoU per image at {size} in %, in brackets boundary IoU ({sets}). Median milliseconds of "
        f"{protocol['runs']} interleaved runs on one thread: the model alone, and a {frame} frame with its pre- and "
        f"post-processing in Python; {markdown.litert(result)}"
        + (f"; MediaPipe {protocol['mediapipe']}." if protocol["mediapipe"] else ".")
        + " The whole of each licence is in each preset's `card.json`."
    )


def edges() -> str:
    """Masks with and without refined edges."""
    return edges_table(_read("edges"))


def backbones() -> str:
    """What the compiler makes of networks that nobody here wrote."""
    return backbones_table(_read("backbones"))


def forms() -> str:
    """The forms of the preset: size, accuracy, operations, latency ratios."""
    result = _read("models-extremec3-eg1800")
    rows = [
        [
            form["form"],
            f"{form['bytes'] / 1024:.0f} KiB",
            f"{form['gzip_bytes'] / 1024:.0f} KiB",
            f"{form['foreground_iou']:.4f}",
            f"{form['boundary_iou']:.4f}",
            f"{form['float_ops']} of {form['total']}",
            form["partitions"],
            f"{form['median_ms_1']:.2f} ms",
            f"{form['speedup_1']:.2f}",
            f"{form['speedup_2']:.2f}",
        ]
        for form in result["forms"]
    ]
    header = [
        "form",
        "size",
        "gzip",
        "foreground IoU",
        "boundary IoU",
        "float ops",
        "partitions",
        "1 thread",
        "x float32",
    ]
    header += ["x float32, 2 threads"]
    return markdown.table(header, rows) + f"\n\nMeasured on {markdown.litert(result)}; {result['protocol']}."


def pipeline() -> str:
    """How fast photos are fed and trained on."""
    r = _read("pipeline")
    return (
        f"The pipeline feeds {r['pipeline_images_per_second']:.0f} images/s with augmentation, training takes "
        f"{r['training_images_per_second']:.0f} images/s ({r['protocol']}; {markdown.litert(r)})."
    )


def mixed_pipeline() -> str:
    """The same with everything that PocketNet's recipe does to a photo."""
    r = _read("pipeline-mix")
    return (
        f"With people pasted, light, shadows, blur, noise and JPEG it feeds {r['pipeline_images_per_second']:.0f} "
        f"images/s, training takes {r['training_images_per_second']:.0f} ({r['protocol']}; {markdown.litert(r)})."
    )


def packing() -> str:
    """How fast a packed set is read, and how large it is."""
    r = _read("packing")
    rates = ", ".join(f"{name} {rate:,}" for name, rate in r["images_per_second"].items())
    return (
        f"Images per second, decoded: {rates}. A photo takes {r['kilobytes_per_photo']} kB, 2,400 of them "
        f"{r['megabytes_of_2400']} MB ({r['protocol']}; {markdown.litert(r)})."
    )


def review() -> str:
    """How soon a key shows the next photo."""
    r = _read("review")
    rows = [
        [
            "x".join(map(str, row["median_size"])),
            row["photos"],
            f"{row['median_ms']:.0f} ms",
            f"{row['p95_ms']:.0f} ms",
            f"{row['longest_ms']:.0f} ms",
        ]
        for row in r["rows"]
    ]
    table = markdown.table(["photos of (median)", "keys", "half within", "95 % within", "longest"], rows)
    return table + f"\n\nFrom a key to the next photo on the screen; {r['protocol']}; {markdown.litert(r)}."


def portraits() -> str:
    """What `data generate` yields, and what its portraits are worth."""
    r = _read("portraits")
    made, judged, found = r["generated"], r["reviewed"], r["difference"]
    rows = [[row["seed"], row["portraits"], f"{100 * row['foreground_iou']:.2f}"] for row in r["runs"]]
    steps = " and ".join(f"{sum(count)} {name}" for name, count in r["steps"].items())
    return (
        f"Clothing Co-Parsing: {made['portraits']} portraits from {made['photos']} photos in {made['seconds']:.0f} s; "
        f"in review {judged['keep']} were kept, {judged['discard']} discarded. ExtremeC3Net by one schedule "
        f"({r['protocol']}; {r['training_photos']['without']} photos of EG1800, with the portraits "
        f"{r['training_photos']['with']}; {steps} steps):\n\n"
        + markdown.table(["seed", "portraits", "foreground IoU, %"], rows)
        + f"\n\nThe portraits change it by {100 * found['foreground_iou']:+.2f} points, {100 * found['low']:+.2f} to "
        f"{100 * found['high']:+.2f} over the test photos (95 %; other seeds may differ by more). "
        "The paper has 94.23 without and 94.97 with 10,448 "
        f"portraits after 600 epochs at 224x224. {markdown.litert(r)}."
    )


def doctor() -> str:
    """What `data check` finds in published sets."""
    r = _read("doctor")
    rows = []
    for row in r["rows"]:
        said = [
            "; ".join(f"{kind} {count}" for kind, (level, count) in row["problems"].items() if level == severity)
            for severity in ("error", "warning")
        ]
        rows.append([row["set"], f"{row['photos']:,}", *(text or "-" for text in said)])
    return markdown.table(["set", "photos", "errors", "warnings"], rows)


def people() -> str:
    """How far the counted people can be trusted."""
    r = _read("people")
    return (
        f"On {r['photos']} photos of COCO `people` agrees with the true number (1, 2, 3 or more) in "
        f"{100 * r['agreeing']:.0f} %."
    )


def kernels() -> str:
    """What int8 gains per kind of operation, on each processor that it was measured on."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("kernels-*.json"))]
    header, rows = ["operation"], []
    for result in results:
        header += [f"{result['machine']['processor']}: float32", "int8", "x float32"]
    for same in zip(*(result["rows"] for result in results), strict=True):
        cells = ([f"{row['float32']:.0f} us", f"{row['int8']:.0f} us", f"{row['speed']:.2f}"] for row in same)
        rows.append([same[0]["operation"], *itertools.chain.from_iterable(cells)])
    machines = "; ".join(map(markdown.litert, results))
    return f"{markdown.table(header, rows)}\n\n{results[0]['protocol']}; {machines}."


def interpreters() -> str:
    """Whether other interpreters and ARM processors give the same masks."""
    result = _read("interpreters")
    rows = []
    for row in result["rows"]:
        exact = row["largest_difference"] == 0
        pixels, logits = f"{100 * row['differing_pixels']:.2f} %", f"{row['largest_difference']:.2f}"
        kernels = "XNNPACK" if row["xnnpack"] else "its own"
        name, _, processor = row["interpreter"].partition(" on ")
        title = f"{name.split()[0]} {row['version']}"
        where = f"{row['machine']}, {processor}" if processor else row["machine"]
        rows.append([title, where, kernels, *(("none", "0") if exact else (pixels, logits))])
    header = ["interpreter", "machine", "kernels", "pixels with another label", "largest logit difference"]
    return (
        markdown.table(header, rows) + f"\n\n{result['protocol']}; the first row is what the others are compared with."
    )


def instructions() -> str:
    """What an inference costs ARM processors, with the ratio to the first model."""
    result = _read("instructions")
    first, processors = result["rows"][0], list(result["rows"][0]["processors"])
    rows = [[row["model"], *(_millions(row, first, name) for name in processors)] for row in result["rows"]]
    return markdown.table(["model", *processors], rows) + (
        "\n\nMillions of instructions per inference, in brackets how many times fewer than the first model's; "
        f"{result['protocol']}; LiteRT {result['machine']['ai-edge-litert']}."
    )


def _millions(row: dict, first: dict, processor: str) -> str:
    count, most = (each["processors"][processor]["instructions"] for each in (row, first))
    return f"{count / 1e6:.1f} ({most / count:.2f})"


def ablations() -> str:
    """Each table of results/ablations/, in the order of `benchmarks.ablation_tables`."""
    paths = [RESULTS / "ablations" / f"{name}.json" for name in TABLES]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return "\n\n".join(f"### {result['protocol']['title']}\n\n{ablation_table(result)}" for result in results)


def search() -> str:
    """PocketNet's candidates: times, counts, and the accuracy of those that were trained."""
    return search_table(_read("search"))


def speed() -> str:
    """Frames a second of every network, beside the papers' figures for other hardware."""
    return speed_table(_read("speed"))


def drawing() -> str:
    """What the app's two ways to draw take, stage by stage."""
    return drawing_table(_read("drawing"))


def papers() -> str:
    """The papers' tables and the list of all networks, as `python -m keras_models.summary --json` writes them."""
    return "\n\n".join(as_markdown(table) for table in _read("summary"))


def deploy() -> str:
    """What becomes of each network on its way to a `.tflite`, in the order of sizes."""
    result = _read("deploy")
    rows = [
        [
            row["network"],
            f"{row['height']}x{row['width']}",
            row["form"],
            f"{row['bytes'] / 1024:,.0f} KiB",
            row["total"],
            row["float_ops"] if row["form"] == "int8" else "all",
            row["space_to_batch"],
            row["partitions"],
            f"{row['rewrite_difference']:.0e}",
            f"{row['correlation']:.4f}",
            f"{row['agreement']:.4f}",
        ]
        if not row["reason"]
        else [row["network"], f"{row['height']}x{row['width']}", f"no {row['form']}: {row['reason']}"]
        for row in sorted(result["networks"], key=lambda row: registry.network(row["network"]).parameters)
    ]
    header = ["network", "input", "form", "size", "operations", "in float", "SPACE_TO_BATCH", "partitions"]
    header += ["rewriting changes", "correlation", "same labels"]
    return markdown.table(header, rows) + f"\n\n{markdown.litert(result)}."


def video() -> str:
    """Flicker against lag: the weakest and the strongest filter of each family."""
    result = _read("video")
    families = {}
    for row in result["rows"]:
        families.setdefault(row["family"], []).append(row)
    shown = [row for rows in families.values() for row in (rows if len(rows) == 1 else (rows[0], rows[-1]))]
    rows = [
        [f"{row['family']} {row['parameters']}".strip()]
        + [
            cell
            for m in (row["clean"], row["noise"])
            for cell in (f"{100 * m['flicker']:.3f} %", f"{m['lag']:.1f}", f"{m['moving_iou']:.4f}")
        ]
        for row in shown
    ]
    header = ["filter", *(f"{what}{kind}" for kind in ("", ", noise") for what in ("flicker", "lag", "moving IoU"))]
    note = f"{len(result['clips'])} clips, {result['frames']} frames each, masks of {result['model']}"
    return markdown.table(header, rows) + f"\n\n{note}; {markdown.litert(result)}."


PAGES = {
    "README.md": {"peers": peers},
    "docs/results.md": {"presets": presets, "accuracy": accuracy, "edges": edges, "classes": classes},
    "docs/convert.md": {"backbones": backbones, "models": forms, "interpreters": interpreters, "video": video},
    "docs/benchmark.md": {
        "kernels": kernels,
        "speed": speed,
        "instructions": instructions,
        "pipeline": pipeline,
        "mixed pipeline": mixed_pipeline,
    },
    "docs/data.md": {
        "doctor": doctor,
        "portraits": portraits,
        "review": review,
        "people": people,
        "packing": packing,
    },
    "docs/ablations.md": {"ablations": ablations, "search": search},
    "docs/phone.md": {"drawing": drawing},
    "docs/networks.md": {"papers": papers, "deploy": deploy},
}

if __name__ == "__main__":
    command.run(main)
