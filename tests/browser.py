"""Debian's Chromium, driven by Selenium; a test that needs it skips, and says so, where it is not installed."""

import contextlib
import shutil
import time

import pytest


@contextlib.contextmanager
def browser(profile):
    """A window of 1280x800 with its profile in the folder `profile`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e '.[test]'")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync disable-dev-shm-usage window-size=1280,800"
    )
    for flag in (*flags.split(), f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    window = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield window
    finally:
        window.quit()


def until(window, condition, seconds: float = 60) -> None:
    """Wait for `condition()`, and fail with the page's text when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, window.find_element("tag name", "body").text
        time.sleep(0.03)


def shown(window) -> str | None:
    """The name of the photo that the page shows."""
    return window.execute_script("return document.body?.dataset.shown")
