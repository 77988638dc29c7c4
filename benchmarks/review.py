"""How soon does a key show the next photo? The page of `data review` in Chromium, driven by keys at a person's pace.

For each of --sides, --photos of DIR are reviewed on a copy, enlarged so that their longer side has that many pixels (0:
as they are). With --discard, a list of names that a person has decided on, all of DIR itself is reviewed: those are
discarded, the others kept. The time is the page's own, from the key to the second frame after it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks import machine
from keras_models import command
from keras_models.command import option
from keras_models.data import page, review
from keras_models.data.images import read_image, read_mask
from keras_models.pictures import write


@dataclass(frozen=True)
class ReviewOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="folder with images/ and masks/")
    sides: tuple[int, ...] = option((0, 4000), least=0, metavar="PIXELS,...", help="longer sides to measure at")
    photos: int = option(100, least=1, help="photos at each side")
    pace: float = option(1.25, least=0, help="seconds from key to key; the paper's reviewers took 1.25")
    discard: str | None = option(None, metavar="FILE", help="names to discard, one per line; the rest is kept")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write results/review.json; with --discard answer, and print."""
    options = command.parse(
        ReviewOptions,
        argv,
        program="python -m benchmarks.review",
        description=__doc__,
        example="python -m benchmarks.review ccp-portraits",
    )
    root, rows = Path(options.data_dir), []
    if options.discard:
        names = set(Path(options.discard).read_text(encoding="utf-8").split())
        print(described(press_through(root, options.pace, names)))
        return 0
    for side in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            size = copy(root, Path(folder), options.photos, side)
            found = press_through(Path(folder), options.pace, set())
        rows.append({"photos": len(found), "median_size": size, **described(found)})
        print(rows[-1], flush=True)
    machine.write("review", {"protocol": f"headless Chromium 1280x800, a key every {options.pace} s", "rows": rows})
    return 0


def copy(root: Path, folder: Path, count: int, side: int) -> list[int]:
    """Photos spread over the set with their masks; their median height and width."""
    with review.Review(root) as session:
        names, masks = session.dataset.names, session.masks
        paths = [session.dataset.paths(i)[0] for i in range(len(names))]
    chosen, sizes = np.unique(np.linspace(0, len(names) - 1, count).astype(int)), []
    for i in chosen:
        image, mask = read_image(paths[i]), read_mask(masks[names[i]])
        if side:
            factor = side / max(image.shape[:2])
            image = cv2.resize(image, None, fx=factor, fy=factor)
            mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        write(folder / "images" / f"{names[i]}.jpg", image)
        write(folder / "masks" / f"{names[i]}.png", mask)
        sizes.append(image.shape[:2])
    return np.median(sizes, axis=0).astype(int).tolist()


def press_through(root: Path, pace: float, discard: set[str]) -> np.ndarray:
    """Milliseconds from each key to the next photo; every photo of `root` is answered."""
    from selenium.webdriver.common.action_chains import ActionChains

    from tests.browser import browser, shown, until

    with tempfile.TemporaryDirectory() as profile, review.Review(root) as session, page.Server(session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser(profile) as window:
            window.get(server.address)
            until(window, lambda: shown(window))
            time.sleep(max(1.0, pace))
            show = command.progress("reviewing")
            answered, count = 0, sum(photo["verdict"] is None for photo in session.state()["photos"])
            while name := shown(window):
                started = time.monotonic()
                ActionChains(window).send_keys("d" if name in discard else "k").perform()
                until(window, lambda name=name: shown(window) != name)
                answered += 1
                show(answered, count)
                time.sleep(max(0.0, pace - (time.monotonic() - started)))
            until(window, lambda: window.execute_script("return waiting.length") == 0)
            found = np.array(window.execute_script("return window.swaps"))
            print(session.summary())
        server.shutdown()
    return found


def described(milliseconds: np.ndarray) -> dict[str, float]:
    p50, p95, most = np.percentile(milliseconds, (50, 95, 100)).round(1).tolist()
    return {"median_ms": p50, "p95_ms": p95, "longest_ms": most}


if __name__ == "__main__":
    command.run(main)
