"""The browser demo: built as its README says, run in Chromium, compared with the project's Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.shared import SHARED

DEMO = Path(__file__).parents[1] / "web_demo"
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")  # as test/browser.ts looks
MISSING = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
if not any(Path(path).exists() for path in CHROMIUM):
    MISSING.append("chromium")


@pytest.mark.skipif(bool(MISSING), reason=f"the web page's tests need {', '.join(MISSING)}")
def test_the_page_builds_and_its_own_tests_pass():
    run([DEMO / "build.sh"])
    clip = SHARED / "data" / "asl_gestures" / "again.mkv"
    person = ["--clip", clip] if clip.is_file() else []  # drawings without it
    run([sys.executable, DEMO / "golden.py", "--size", "480x640", "--frames", "30", "--rate", "6", *person])
    report = run(["npm", "test"])
    assert "passed" in report
    assert "skipped" not in report
    assert len(clip_with_a_background("camera.webm", (64, 177, 0))) >= 3
    assert len(clip_with_a_background("converted.webm", (255, 255, 255))) >= 3


def clip_with_a_background(name: str, color: tuple[int, int, int]) -> list[np.ndarray]:
    """The frames of what the page recorded, BGR uint8, all of the clip's size: `color` in their upper corners alone."""
    capture = cv2.VideoCapture(str(DEMO / "build" / "recorded" / name))
    frames = []
    while (read := capture.read())[0]:
        frame = read[1]
        assert frame.shape == (640, 480, 3)
        far = np.abs(frame.astype(int) - color).max(-1) > 40
        assert not far[5:45, 5:45].any() and not far[5:45, -45:-5].any()
        assert far.mean() > 0.1  # a person is there
        frames.append(frame)
    return frames


def run(command: list) -> str:
    """What `command` prints, run in the demo's folder; fails with all of it."""
    done = subprocess.run(
        [str(part) for part in command],
        **{"cwd": DEMO, "env": {**os.environ, "NO_COLOR": "1"}, "timeout": 1200, "check": False},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_no_registry_is_written_down():
    lock = (DEMO / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert "registry" not in lock
