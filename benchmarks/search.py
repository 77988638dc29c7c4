"""Which PocketNet? Candidates from a small space, timed, counted and the best of them trained.

    python -m benchmarks.search convert             # draws candidates and makes their int8 files
    python -m benchmarks.search time                # with nothing else running: all in one interleaved run, one thread
    python -m benchmarks.search count               # ARM instructions of an inference, under qemu
    python -m benchmarks.search train --dataset mix --data-dir mix.toml --larger pocketnet-l
    python -m benchmarks.search inputs --dataset mix --data-dir mix.toml
    python -m benchmarks.search plot

Two families: plain layers drawn from a space, which begin from nothing, and pocketnet_l made narrower, which begins
from a larger model's weights (`keras_models.prune`). Before anything is trained, more multiply-accumulates in the same
time are taken for better: of the candidates of a family that no other beats in both, some are trained, spread from the
fastest to the slowest, all by one short schedule. Which input buys more is asked of the presets' trained weights, at
each of them. Masks are compared at 224x224 whatever the input is. Every step goes on where it was cut off; the same
--seed draws the same candidates. Writes results/search.json and results/search.png.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import machine, markdown
from keras_models import command
from keras_models.command import UserError, option

STEPS = ("convert", "time", "count", "train", "inputs", "plot")
WIDTHS = ((16, 32, 32, 48, 48), (16, 32, 64, 96, 128), (16, 32, 64, 128, 160), (32, 48, 96, 192, 256))
DEPTHS = ((1, 1, 1), (1, 2, 3), (1, 3, 2), (2, 4, 4))
KERNEL_SIZES = (3, 5)
CONTEXTS = (True, False)
DECODERS = (1, 2, 3)  # steps, as wide as stride 8, half of that, and stride 2: logits at strides 8, 4 and 2
INPUTS = (160, 192, 224, 256)
COMPARED_AT = (224, 224)
ROUNDS = 100  # of the interleaved run


@dataclass(frozen=True)
class SearchOptions:
    """The command's flags."""

    step: str = option(positional=True, choices=STEPS, help="what to do, see above")
    candidates: int = option(12, least=1, help="how many are drawn from the space, beside the known shapes")
    seed: int = option(0, least=0, help="which ones are drawn, and of the training")
    best: int = option(4, least=1, help="train: how many candidates of each family")
    dataset: str = option("mix", metavar="KIND", help="train: kind of dataset")
    data_dir: str | None = option(None, metavar="DIR", help="train: the dataset's folder, or mix.toml")
    photos: int = option(40_000, least=1, help="train: photos that each sees")
    share: float = option(
        1.0, above=0, most=1, help="train: at this share of the input's sides, up to a multiple of 32"
    )
    larger: str = option("pocketnet-l", metavar="MODEL", help="train: whose weights the narrower ones begin from")
    arm: tuple[str, ...] = option(("Cortex-A76",), metavar="PROCESSOR,...", help="count: emulated processors")
    folder: str = option("build/search", metavar="DIR", help="where files and runs are kept")


@dataclass(frozen=True)
class Plain:
    """A `pocketnet.Shape` by its choices, and the side of its input."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernel_size: int
    context: bool
    decoder: int
    side: int

    @property
    def name(self) -> str:
        """`w16-32-64-128-160_d1-2-3_k5_context_s2_224`."""
        parts = [_joined("w", self.widths), _joined("d", self.depths), f"k{self.kernel_size}"]
        return "_".join([*parts, *(["context"] if self.context else []), f"s{2 ** (4 - self.decoder)}", str(self.side)])

    def builder(self, image, classes):
        """Logits, as every network's builder gives them."""
        from keras_models.networks import pocketnet

        steps = (self.widths[2], self.widths[2] // 2, self.widths[0])
        decoder = tuple(width if step < self.decoder else 0 for step, width in enumerate(steps))
        shape = pocketnet.Shape(self.widths, self.depths, decoder, self.kernel_size, self.context)
        return pocketnet.pocketnet(image, classes, shape)


@dataclass(frozen=True)
class Narrower:
    """pocketnet_l with a `pocketnet.Narrow`, and the side of its input."""

    expansions: tuple[int, ...]
    decoder: tuple[int, ...]
    side: int
    repeats: tuple[int, ...] = (1, 2, 2, 3, 2, 2)
    channels: tuple[int, ...] = (16, 24, 40, 80, 112, 192)

    @property
    def name(self) -> str:
        """`e1-2-2-3-3-2_d80-32-16-16_192`; `_r` repeats and `_c` channels follow e where they are not pocketnet_l's."""
        parts = [_joined("e", self.expansions)]
        parts += [_joined("r", self.repeats)] if self.repeats != Narrower.repeats else []
        parts += [_joined("c", self.channels)] if self.channels != Narrower.channels else []
        return "_".join([*parts, _joined("d", self.decoder), str(self.side)])

    def builder(self, image, classes):
        """Logits, as every network's builder gives them."""
        from keras_models.networks import pocketnet

        shape = pocketnet.Narrow(self.expansions, self.decoder, self.repeats, self.channels)
        return pocketnet.on_efficientnet(image, classes, shape)


Candidate = Plain | Narrower
L, M = ((1, 6, 6, 6, 6, 6), (96, 48, 32, 16)), ((1, 2, 2, 3, 3, 2), (80, 32, 16, 16))
S = partial(
    Narrower, (1, 2, 3, 2, 2, 2), (48, 24, 16, 16), repeats=(1, 2, 2, 2, 1, 1), channels=(16, 16, 24, 48, 72, 80)
)
NARROWER = (
    *(S(side) for side in INPUTS),
    *(Narrower(*M, side) for side in INPUTS),
    *(Narrower(*L, side) for side in (160, 224)),
    *(Narrower((1, 2, 2, 2, 2, 2), decoder, 192) for decoder in (L[1], M[1])),
    *(Narrower((1, 3, 3, 3, 3, 3), L[1], side) for side in (160, 192, 224)),
)
PRESETS = {  # whose weights a preset has, but for the input's side
    "pocketnet-m-open": partial(Plain, WIDTHS[2], DEPTHS[1], 5, True, 3),
    "pocketnet-s": S,
    "pocketnet-m": partial(Narrower, *M),
}


def _joined(letter: str, numbers: tuple[int, ...]) -> str:
    return letter + "-".join(map(str, numbers))


def build(candidate: Candidate, side: int | None = None):
    """The model with one logit, new weights, at the candidate's own input's side or another."""
    from keras_models import registry

    row = dataclasses.replace(registry.network("pocketnet_m"), builder=candidate.builder)
    return row.build(1, side or candidate.side)


def drawn(count: int, seed: int) -> list[Candidate]:
    """A small plain shape and pocketnet_plain at all inputs, the largest at 224, `count` others, and the narrower."""
    small = partial(Plain, WIDTHS[0], DEPTHS[2], 5, True, 2)
    known = [shape(side) for shape in (small, PRESETS["pocketnet-m-open"]) for side in INPUTS]
    known.append(Plain(WIDTHS[3], DEPTHS[3], 5, True, 3, 224))
    space = [
        candidate
        for choices in itertools.product(WIDTHS, DEPTHS, KERNEL_SIZES, CONTEXTS, DECODERS, INPUTS)
        if (candidate := Plain(*choices)) not in known
    ]
    order = np.random.default_rng(seed).permutation(len(space))
    return [*known, *(space[i] for i in order[:count]), *NARROWER]


def main(argv: list[str] | None = None) -> int:
    """One step for all candidates that lack it."""
    options = command.parse(
        SearchOptions,
        argv,
        program="python -m benchmarks.search",
        description=__doc__,
        example="python -m benchmarks.search train --dataset folder --data-dir photos --photos 10000 --share 0.5",
    )
    candidates = drawn(options.candidates, options.seed)
    result = machine.kept("search", machine.TIMING if options.step == "time" else ())
    rows = {row["name"]: row for row in result.get("rows", ())}
    folder, protocol = Path(options.folder), result.get("protocol", {})
    files = {candidate: folder / f"{candidate.name}.tflite" for candidate in candidates}
    if options.step == "convert":
        return convert({candidate: file for candidate, file in files.items() if not file.is_file()})
    ready = {candidate: file for candidate, file in files.items() if file.is_file()}
    if not ready:
        raise UserError(f"There are no files in {folder}: python -m benchmarks.search convert")

    def keep(candidate: Candidate, found: dict) -> None:
        rows[candidate.name] = rows.get(candidate.name, facts(candidate)) | found
        everyone = sorted(rows.values(), key=lambda row: row.get("int8_ms", 0))
        machine.write("search", result | {"protocol": protocol, "rows": everyone})

    if options.step == "time":
        for candidate, median_ms in zip(ready, timed(list(ready.values())), strict=True):
            keep(candidate, {"int8_ms": median_ms, "bytes": ready[candidate].stat().st_size})
    elif options.step == "count":
        from benchmarks.speed import instructions

        for candidate, file in ready.items():
            known = rows.get(candidate.name, {}).get("instructions", {})
            keep(candidate, {"instructions": instructions(file, options.arm, known)})
    elif options.step == "train":
        untimed = [candidate.name for candidate in ready if "int8_ms" not in rows.get(candidate.name, {})]
        if untimed:
            raise UserError(f"{untimed[0]} has no time yet: python -m benchmarks.search time")
        families = ([c for c in ready if isinstance(c, family)] for family in (Plain, Narrower))
        train(options, [c for all in families for c in promising(all, rows, options.best)], rows, protocol, keep)
    elif options.step == "inputs":
        inputs(options, list(ready), protocol, keep)
    if any("foreground_iou" in row for row in rows.values()):
        plot(list(rows.values()), machine.RESULTS / "search.png")
    print(table(result | {"protocol": protocol, "rows": list(rows.values())}))
    return 0


def facts(candidate: Candidate) -> dict:
    """What the table says of a candidate before it is timed."""
    from keras_models import complexity

    counts = complexity.count(build(candidate))
    return {
        "name": candidate.name,
        **dataclasses.asdict(candidate),
        "parameters": counts.parameters,
        "macs": counts.macs,
    }


def convert(files: dict[Candidate, Path]) -> int:
    """Make the int8 files, each in a process of its own; 1 when one cannot be made."""
    failed = False
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        reasons = pool.map(make, files, files.values())
        for number, (candidate, reason) in enumerate(zip(files, reasons, strict=True), start=1):
            print(f"{number} of {len(files)}: {candidate.name} {reason or 'done'}", flush=True)
            failed = failed or bool(reason)
    return int(failed)


def make(candidate: Candidate, file: Path) -> str:
    """Write a candidate's int8 file; why not, or nothing."""
    from benchmarks.speed import write_files

    return write_files(partial(build, candidate), {"int8": file})


def timed(files: list[Path]) -> list[float]:
    """Median milliseconds of each file on one thread, all in one interleaved run."""
    from benchmarks.speed import runner

    runners = [runner(file, 1) for file in files]
    taken = np.array([[run() for run in runners] for _ in range(ROUNDS + 5)])
    return np.median(taken[5:], axis=0).tolist()


def front(points: list[tuple[float, float]]) -> list[int]:
    """The indices of the points (cost, worth) that no other beats in both, by rising cost."""
    best, kept = -np.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            kept.append(i)
    return kept


def promising(candidates: list[Candidate], rows: dict, count: int) -> list[Candidate]:
    """At most `count` of the front of milliseconds and multiply-accumulates, from its fast end to its slow one."""
    points = [(rows[c.name]["int8_ms"], rows[c.name]["macs"]) for c in candidates]
    kept = front(points)
    chosen = np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)
    return [candidates[kept[i]] for i in chosen]


def train(options: SearchOptions, candidates: list[Candidate], rows: dict, protocol: dict, keep) -> None:
    """Train those that are not trained yet, all by one schedule."""
    command.load_keras()
    from benchmarks import ablations
    from benchmarks.ablation_tables import PEOPLE, TABLES, Row, Table
    from keras_models import data, models

    training = data.load(options.dataset, options.data_dir, "train")
    validation = data.load(options.dataset, options.data_dir, "val")
    shared = {
        "photos": options.photos,
        "share": options.share,
        "seed": options.seed,
        "training": f"{training.title}, {len(training)} photos",
        "measured": f"{validation.title}, {len(validation)} photos",
    }
    trained = [row["name"] for row in rows.values() if "foreground_iou" in row]
    if trained and {key: protocol.get(key) for key in shared} != shared:
        raise UserError(
            f"{trained[0]} was trained otherwise: {protocol}, now {shared}. Give the same numbers, or remove "
            f"{machine.RESULTS / 'search.json'}."
        )
    protocol.update(shared)
    for candidate in candidates:
        if candidate.name in trained:
            continue
        side = -(-round(candidate.side * options.share) // 32) * 32
        folder = Path(options.folder) / "runs" / candidate.name
        print(f"{candidate.name} at {side}x{side}", flush=True)
        weights = pruned(options.larger, candidate, training, folder) if isinstance(candidate, Narrower) else None
        row = Row(candidate.name, "pocketnet_m", builder=candidate.builder, weights=weights)
        stage = TABLES["pocketnet"].stage
        each = Table("search", options.dataset, PEOPLE, (side, side), options.photos, (row,), stage, split="val")
        found = ablations.train(each, row, options.seed, folder, training, validation, validation)
        keep(
            candidate,
            {"trained_at": side, "minutes": found["minutes"], **measure(models.predictor(folder), validation)},
        )


def pruned(larger: str, candidate: Narrower, training, folder: Path) -> str:
    """The file of the weights that a narrower candidate begins from, made if it is not there."""
    from keras_models import data, models, prune

    file = folder.with_suffix(".keras")
    if not file.is_file():
        source, target = models.load(larger), build(candidate)
        _, images = data.calibration_images(training, prune.PHOTOS, source.input_shape[1:3])
        prune.prune(source, target, images)
        with command.whole_file(file) as temporary:
            target.save(temporary)
    return str(file)


def inputs(options: SearchOptions, candidates: list[Candidate], protocol: dict, keep) -> None:
    """Measure the presets' weights at every input."""
    command.load_keras()
    from keras_models import data, models

    validation = data.load(options.dataset, options.data_dir, "val")
    protocol["inputs"] = f"{validation.title}, {len(validation)} photos"
    for preset, at in PRESETS.items():
        for side in INPUTS:
            if (candidate := at(side)) in candidates:
                print(f"{preset} at {side}x{side}", flush=True)
                network = models.predictor(preset, (side, side))
                keep(candidate, {"preset": {"name": preset, **measure(network, validation)}})


def measure(network, dataset) -> dict:
    """Foreground and boundary IoU of `network` on `dataset`, its logits enlarged to where all are compared."""
    import cv2

    from keras_models import data, metrics
    from keras_models.data.datasets import read_each

    def convert(image, labels):
        return data.prepare_image(image, network.input_size), data.prepare_mask(labels, COMPARED_AT)

    photos = []
    for image, truth in read_each(dataset, convert, command.progress("measuring")):
        logits = cv2.resize(network.logits(image[None])[0], COMPARED_AT[::-1], interpolation=cv2.INTER_LINEAR)
        photos.append(metrics.of_photo(truth, (logits > 0).astype(np.uint8), 2))
    means = metrics.mean_figures(photos)
    return {key: means[key] for key in ("foreground_iou", "boundary_iou")}


def plot(rows: list[dict], path: Path) -> None:
    """Foreground IoU against the milliseconds of int8 by family, the inputs' sides at the points, the front a line."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if "foreground_iou" in row]
    figure = Figure(figsize=(7, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    points = [(row["int8_ms"], 100 * row["foreground_iou"]) for row in rows]
    axes.plot(*zip(*(points[i] for i in front(points)), strict=True), "-", color="#b0b0b0", zorder=1, label="the front")
    families = {"pocketnet_l made narrower": ("#d64818", True), "plain layers": ("#2860a8", False)}
    for label, (color, narrower) in families.items():
        of_it = [i for i, row in enumerate(rows) if ("expansions" in row) == narrower]
        axes.plot(*np.reshape([points[i] for i in of_it], (-1, 2)).T, "o", color=color, label=label)
        for i in of_it:
            axes.annotate(rows[i]["side"], points[i], (5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="milliseconds, int8, one thread", ylabel="foreground IoU, %")
    axes.set_xlim(left=0)
    axes.margins(0.1)
    axes.legend(loc="lower right")
    axes.grid(color="#e4e4e4")
    with command.whole_file(path) as temporary:
        figure.savefig(temporary)


def table(result: dict) -> str:
    """Markdown: every candidate by its time; of the trained ones the accuracy, those of the front in bold."""
    rows = sorted(result["rows"], key=lambda row: row.get("int8_ms", 0))
    trained = [row for row in rows if "foreground_iou" in row]
    best = {trained[i]["name"] for i in front([(row["int8_ms"], row["foreground_iou"]) for row in trained])}
    processors = list(dict.fromkeys(name for row in rows for name in row.get("instructions", ())))
    header = [
        "candidate",
        "input",
        "parameters",
        "MACs",
        "int8, ms",
        *(f"{name}, M instructions" for name in processors),
    ]
    header += ["foreground IoU, %", "boundary IoU, %", "preset's weights"]
    lines = []
    for row in rows:
        name = row["name"].rpartition("_")[0].replace("_", " ")
        counts = row.get("instructions", {})
        lines.append(
            [
                f"**{name}**" if row["name"] in best else name,
                row["side"],
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e6:.0f} M",
                f"{row['int8_ms']:.2f}" if "int8_ms" in row else "-",
                *(f"{counts[each] / 1e6:.1f}" if each in counts else "-" for each in processors),
                *(f"{100 * row[key]:.1f}" if key in row else "-" for key in ("foreground_iou", "boundary_iou")),
                "{:.1f} ({:.1f})".format(*(100 * row["preset"][key] for key in ("foreground_iou", "boundary_iou")))
                if "preset" in row
                else "-",
            ]
        )
    shared = result["protocol"]
    caption = (
        "e: pocketnet_l with these expansions of its six stages, after d these widths of its decoder, and after r and "
        "c, where they are others, these repeats and channels of the stages, begun from a larger model's weights; the "
        "others begin from nothing. w: widths at strides 2 to 32; d: residual blocks at "
        "strides 8, 16 and 32; k: kernel of the depthwise convolutions; s: stride of the logits. Medians of one "
        "interleaved run of all, one thread; "
        f"{markdown.litert(result)}."
    )
    if "photos" in shared:
        caption += (
            f" Those with accuracy saw {shared['photos']:,} photos ({shared['training']}) at {shared['share']:g} of "
            f"their input's sides, one seed; masks at 224x224, {shared['measured']}. Bold: no other trained one is "
            "faster and better."
        )
    if "inputs" in shared:
        caption += (
            " Preset's weights: the same weights at each input; foreground and (boundary) IoU "
            f"in %, {shared['inputs']}."
        )
    return f"{markdown.table(header, lines)}\n\n{caption}"


if __name__ == "__main__":
    command.run(main)
