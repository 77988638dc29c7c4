"""The Android demo: what a machine without a phone can check, by the script that a developer would run."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

DEMO = Path(__file__).parents[1] / "android_demo"
TOOLS = ("java", "javac", "keytool", "mvn", "python3", "aapt2", "zipalign", "apksigner", "zip", "unzip")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
if not Path("/usr/share/android-framework-res/framework-res.apk").is_file():
    MISSING.append("android-framework-res")


@pytest.mark.skipif(bool(MISSING), reason=f"building an APK needs {', '.join(MISSING)}")
def test_the_apk_builds_and_its_own_tests_pass():
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", DEMO / "test.sh"], env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    print(done.stdout, done.stderr)
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"[1-9]\d+ passed, 0 failed", last), done.stdout[-6000:] + done.stderr[-2000:]  # JUnit's own
    assert done.returncode == 0


@pytest.fixture
def copy_models(tmp_path, monkeypatch):
    """The script as a module, with presets and assets in a temporary folder."""
    spec = importlib.util.spec_from_file_location("copy_models", DEMO / "copy_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PRESETS", tmp_path / "presets")
    monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    return module


def write_model(folder: Path, name: str, sha256: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tflite"
    path.write_bytes(f"0000TFL3{name}".encode())
    spec = {"sha256": sha256 or hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(spec))
    return path


def test_presets_and_named_models_become_the_assets_and_old_ones_go(copy_models, tmp_path):
    preset = write_model(tmp_path / "presets" / "a", "a-int8")
    mine = write_model(tmp_path / "elsewhere", "mine")
    write_model(tmp_path / "assets", "old")
    (write_model(tmp_path / "presets" / "large", "large-int8")).write_bytes(bytes(copy_models.LARGEST))
    assert copy_models.main([str(mine)]) == 0
    names = sorted(path.name for path in (tmp_path / "assets").iterdir())
    assert names == ["a-int8.json", "a-int8.tflite", "mine.json", "mine.tflite"]
    assert (tmp_path / "first.txt").read_text() == "mine\n"
    assert (tmp_path / "assets" / preset.name).read_bytes() == preset.read_bytes()
    assert copy_models.main([]) == 0
    assert not (tmp_path / "first.txt").exists()


@pytest.mark.parametrize("fault", ["no file", "no spec", "another file's spec", "no JSON"])
def test_a_model_that_cannot_be_taken_is_named_and_the_assets_stay(copy_models, tmp_path, capsys, fault):
    kept = write_model(tmp_path / "assets", "kept")
    model = write_model(tmp_path, "broken", sha256="0" * 64 if fault == "another file's spec" else None)
    if fault == "no file":
        model.unlink()
    elif fault == "no spec":
        model.with_suffix(".json").unlink()
    elif fault == "no JSON":
        model.with_suffix(".json").write_text("{")
    assert copy_models.main([str(model)]) == 2
    assert "broken" in capsys.readouterr().err
    assert kept.is_file()


def test_gradle_and_the_script_build_the_same_app():
    gradle = (DEMO / "app" / "build.gradle.kts").read_text()
    script = (DEMO / "build_apk.sh").read_text()
    for name, flag in (
        ("minSdk", "--min-sdk-version"),
        ("targetSdk", "--target-sdk-version"),
        ("compileSdk", "--compile-sdk-version-code"),
        ("versionCode", "--version-code"),
        ("versionName", "--version-name"),
    ):
        in_gradle = re.search(rf'{name} = "?([\d.]+)', gradle)[1]
        assert re.search(rf"{flag} ([\d.]+)", script)[1] == in_gradle, name
    assert 'applicationId = "pocketseg.demo"' in gradle and 'package="pocketseg.demo"' in script
    catalogue = tomllib.loads((DEMO / "gradle" / "libs.versions.toml").read_text())
    pieces = (DEMO / "pom.xml").read_text()
    for artifact in ("junit", "json", "robolectric", "jna"):
        group, name = catalogue["libraries"][artifact]["module"].split(":")
        version = catalogue["versions"][artifact]
        assert f"<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}<" in pieces
    assert f"kotlin-compiler-embeddable</artifactId><version>{catalogue['versions']['kotlin']}<" in pieces
    abis = re.findall(r'"([^"]+)"', re.search(r"abiFilters \+= listOf\((.*?)\)", gradle)[1])
    assert re.search(r"for abi in (.*); do", script)[1].split() == abis
    assert 'proguardFiles("shrink.pro")' in gradle and "--pg-conf app/shrink.pro" in script


@pytest.mark.parametrize("language", ["de", "es", "zh"])
def test_every_word_of_the_app_is_translated(language):
    def words(folder: str) -> dict[str, str]:
        root = ElementTree.parse(DEMO / "app" / "src" / "main" / "res" / folder / "strings.xml").getroot()
        return {entry.get("name"): entry.text for entry in root if entry.get("translatable") != "false"}

    english, other = words("values"), words(f"values-{language}")
    assert english.keys() == other.keys()
    for name, text in english.items():
        assert sorted(re.findall(r"%[\d$.]*\w|%%", text)) == sorted(re.findall(r"%[\d$.]*\w|%%", other[name])), name


def test_no_word_of_the_app_stands_in_a_layout_or_in_the_code():
    for layout in (DEMO / "app" / "src" / "main" / "res").glob("layout*/*.xml"):
        assert not re.findall(r'android:(?:text|contentDescription|hint)="(?!@)[^"]+"', layout.read_text()), layout.name
    for source in (DEMO / "app" / "src" / "main" / "kotlin" / "pocketseg" / "demo").glob("*.kt"):
        assert not re.findall(r'(?:setText|\bnote|setTitle)\("', source.read_text()), source.name


def test_the_jvm_tests_say_what_python_they_miss(tmp_path):
    """test.sh ended without a word when its Python had no OpenCV."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'cv2'\" >&2\nexit 1\n")
    python.chmod(0o755)
    if MISSING:
        pytest.skip(f"building an APK needs {', '.join(MISSING)}")
    environment = {**os.environ, "PYTHON": str(python)}
    done = subprocess.run(
        ["bash", DEMO / "test.sh"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "No module named 'cv2'" in done.stderr and "PYTHON=" in done.stderr
