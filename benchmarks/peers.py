"""Ours beside what people use today: accuracy on the same photos, time on the same core in one interleaved run.

    python -m benchmarks.peers pocketnet-m --sets portraits=eg1800:eg1800:test,everyday=folder:photos:val

Models are presets or `.tflite` files; `--peer FILE.tflite` adds anybody's (RGB in; one channel, or one per class with
the background first). `--mediapipe PYTHON` adds MediaPipe's selfie segmenter, general and landscape, run by a Python
that has mediapipe 0.10. Every network gets the photo at its own input size; its mask is compared at 224x224. Writes
results/peers.json and results/peers.png.
"""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from benchmarks import machine
from benchmarks.sets import SETS, facts, parse_set
from keras_models import command, data, metrics, models
from keras_models.command import UserError, option
from keras_models.data.datasets import read_each
from tflite import runtime

SIZE = (224, 224)  # where masks are compared
FRAME = (720, 1280)  # of the timed frame, as a phone's camera gives it
CHUNK = 32


@dataclasses.dataclass(frozen=True)
class PeersOptions:
    """The command's flags."""

    models: str = option(positional=True, metavar="MODEL[,MODEL...]", help="presets or .tflite files of ours")
    sets: tuple[str, ...] = option(metavar=SETS, help="photos to measure on")
    peer: tuple[str, ...] = option((), metavar="FILE.tflite,...", help="other people's models")
    mediapipe: str | None = option(None, metavar="PYTHON", help="a Python with mediapipe 0.10")
    runs: int = option(100, help="timed runs of each")
    limit: int | None = option(None, help="measure on the first photos of each set only")


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to a mask. `person` gives P(person) float32 (height, width) of RGB uint8; `model_ms` times the model alone.

    Both `person` and `model_ms` are for one photo of any size; `model_ms` is None where the model cannot be run alone.
    """

    name: str
    person: Callable[[np.ndarray], np.ndarray]
    model_ms: Callable[[], float] | None
    frame_ms: Callable[[np.ndarray], float]
    size_bytes: int
    licence: str


def tflite_peer(path: Path, name: str) -> Peer:
    """A `.tflite` of ours or of anybody; without a spec, values that stay within 0 and 1 are probabilities."""
    segmenter = runtime.Segmenter(path)

    def person(image: np.ndarray) -> np.ndarray:
        if segmenter.spec:
            return 1 - segmenter.probabilities(image)[..., 0]
        found = segmenter.output(image)
        if found.min() < 0 or found.max() > 1:
            return 1 - segmenter.probabilities(image)[..., 0]
        found = found[..., 0] if found.shape[-1] == 1 else 1 - found[..., 0]
        return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def model_ms() -> float:
        started = time.perf_counter()
        segmenter._interpreter.invoke()
        return (time.perf_counter() - started) * 1000

    def frame_ms(frame: np.ndarray) -> float:
        started = time.perf_counter()
        person(frame)
        return (time.perf_counter() - started) * 1000

    licence = (segmenter.spec or {}).get("licence") or "its owner's"
    return Peer(name, person, model_ms, frame_ms, path.stat().st_size, licence)


class MediaPipe:
    """The process that runs MediaPipe's package."""

    def __init__(self, python: str, folder: Path):
        worker = Path(__file__).with_name("mediapipe_frames.py")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, worker], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self._frame = folder / "frame.npy"
        ready = self._process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise UserError(
                f"{python} cannot run MediaPipe. In an environment of its own: pip install mediapipe==0.10.21"
            )
        self.version = ready[1]
        find = (
            "import mediapipe, pathlib; print(pathlib.Path(mediapipe.__file__).parent / 'modules/selfie_segmentation')"
        )
        place = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
        self._models = Path(place)

    def peers(self) -> list[Peer]:
        """The general and the landscape model; the package does not run them alone."""
        return [
            Peer(
                f"MediaPipe, {kind}",
                lambda image, number=number: self._run(number, image)[0],
                None,
                lambda frame, number=number: self._run(number, frame)[1],
                (self._models / file).stat().st_size,
                "Apache-2.0",
            )
            for number, (kind, file) in enumerate(
                (("general", "selfie_segmentation.tflite"), ("landscape", "selfie_segmentation_landscape.tflite"))
            )
        ]

    def _run(self, number: int, image: np.ndarray) -> tuple[np.ndarray, float]:
        np.save(self._frame, image)
        self._process.stdin.write(f"{number} {self._frame}\n")
        self._process.stdin.flush()
        elapsed = float(self._process.stdout.readline())
        return np.load(self._frame.with_name("frame.mask.npy")), elapsed


def accuracy(peers: list[Peer], dataset: data.Dataset, progress: Callable) -> list[dict]:
    """Foreground IoU per image and boundary IoU of each peer over the photos; each photo is read once for all."""
    scores = [{"foreground_iou": [], "boundary_iou": []} for _ in peers]
    truth, found = [], [[] for _ in peers]

    def flush() -> None:
        for score, masks in zip(scores, found, strict=True):
            score["foreground_iou"].extend(
                np.asarray(metrics.foreground_iou_per_image(np.stack(truth), np.stack(masks)))
            )
            score["boundary_iou"].extend(np.asarray(metrics.boundary_iou_per_image(np.stack(truth), np.stack(masks))))
            masks.clear()
        truth.clear()

    for image, labels in read_each(dataset, lambda image, labels: (image, labels), progress):
        truth.append(data.prepare_mask(labels, SIZE))
        for masks, peer in zip(found, peers, strict=True):
            likely = cv2.resize(peer.person(image), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
            masks.append((likely > 0.5).astype(np.uint8))
        if len(truth) == CHUNK:
            flush()
    if truth:
        flush()
    return [{name: float(np.mean(values)) for name, values in score.items()} for score in scores]


def times(peers: list[Peer], frame: np.ndarray, runs: int) -> list[dict]:
    """Median milliseconds of the model alone and of a whole frame, from the camera's picture to a mask of its size."""
    alone, whole = [[] for _ in peers], [[] for _ in peers]
    for _ in range(runs + 5):
        for peer, model_ms, frame_ms in zip(peers, alone, whole, strict=True):
            frame_ms.append(peer.frame_ms(frame))
            if peer.model_ms:
                model_ms.append(peer.model_ms())
    return [
        {"model_ms": float(np.median(m[5:])) if m else None, "frame_ms": float(np.median(f[5:]))}
        for m, f in zip(alone, whole, strict=True)
    ]


def plot(rows: list[dict], sets: list[str], path: Path) -> None:
    """Foreground IoU against the milliseconds of a frame, one panel per set; ours in colours, the others in grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(sets), 4), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    slowest = max(row["frame_ms"] for row in rows)
    ours = ("#d64818", "#1b7f8c", "#7a9e1f", "#8a4fa3", "#b58900", "#2f5fb3", "#c2578f")
    colors, greys = cycle(ours), cycle(("#5c5c5c", "#9a9a9a"))
    marks = [("o", next(colors)) if row["ours"] else ("s", next(greys)) for row in rows]
    for panel, name in zip(panels, sets, strict=True):
        for row, (mark, color) in zip(rows, marks, strict=True):
            value = 100 * row["sets"][name]["foreground_iou"]
            panel.plot(row["frame_ms"], value, mark, color=color, markersize=8, label=row["name"])
        panel.set(title=name, xlabel="milliseconds a frame, one thread", xlim=(0, 1.15 * slowest))
        panel.grid(alpha=0.3)
        panel.margins(y=0.15)
    panels[0].set_ylabel("foreground IoU, %")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(rows), 6), frameon=False
    )
    with command.whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _dataset(text: str, limit: int | None) -> tuple[str, data.Dataset]:
    name, kind, folder, split = parse_set(text)
    dataset, title = data.load(kind, folder, split), f"{Path(folder).name} {split}"
    return name, dataset.subset(range(min(limit or len(dataset), len(dataset))), title)


def _ours(name: str) -> Peer:
    path = models.find(name).with_name(f"{name}-int8.tflite") if name in models.preset_names() else Path(name)
    if not path.is_file():
        raise UserError(f"There is no {path}. Give a preset ({', '.join(models.preset_names())}) or a .tflite file.")
    return tflite_peer(path, path.stem.removesuffix("-int8"))


def main(argv: list[str] | None = None) -> int:
    """Measure all on all; print and write the table and the plot."""
    options = command.parse(
        PeersOptions,
        argv,
        program="python -m benchmarks.peers",
        description=__doc__,
        example="python -m benchmarks.peers pocketnet-m --sets portraits=eg1800:eg1800:test --mediapipe mp/bin/python",
    )
    measured_on = dict(_dataset(text, options.limit) for text in options.sets)
    ours = [_ours(name) for name in options.models.split(",")]
    others = [tflite_peer(Path(file), Path(file).stem) for file in options.peer]
    with tempfile.TemporaryDirectory() as folder:
        package = MediaPipe(options.mediapipe, Path(folder)) if options.mediapipe else None
        peers = [*ours, *(package.peers() if package else []), *others]
        measured = {
            name: accuracy(peers, dataset, command.progress(f"measuring on {name}"))
            for name, dataset in measured_on.items()
        }
        first = next(iter(measured_on.values())).load(0)[0]
        timed = times(peers, cv2.resize(first, FRAME[::-1]), options.runs)
    rows = [
        {
            "name": peer.name,
            "ours": i < len(ours),
            "bytes": peer.size_bytes,
            "licence": peer.licence,
            **timed[i],
            "sets": {name: figures[i] for name, figures in measured.items()},
        }
        for i, peer in enumerate(peers)
    ]
    for row in rows:
        shown = "  ".join(f"{name} {100 * figures['foreground_iou']:.1f}" for name, figures in row["sets"].items())
        model = "" if row["model_ms"] is None else f"{row['model_ms']:.2f} ms alone, "
        print(f"{row['name']:28s} {shown}  {model}{row['frame_ms']:.2f} ms a frame")
    protocol = {
        "sets": facts(measured_on),
        "size": list(SIZE),
        "frame": list(FRAME),
        "runs": options.runs,
        "threads": 1,
        "mediapipe": package.version if package else None,
    }
    machine.write("peers", {"protocol": protocol, "peers": rows})
    plot(rows, list(measured_on), machine.RESULTS / "peers.png")
    return 0


if __name__ == "__main__":
    command.run(main)
