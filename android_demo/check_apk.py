"""Check APKs that build_apk.sh wrote: one line per check, `ok ...` or `FAILED ...`; exit 1 when one failed.

Run in android_demo after build_apk.sh, whose pieces it compares with. Uses Python's standard library, apksigner, aapt2,
zipalign and r8's TraceReferences.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from copy_models import presets

HERE = Path(__file__).resolve().parent
PIECES = HERE / "build" / "pieces"
ASSETS = HERE / "app" / "src" / "main" / "assets"
ABIS = ("arm64-v8a", "armeabi-v7a", "x86_64")
MAX_MIB = 32
GUARDED = ("ScreensKt.thermalStatus",)  # it asks Build.VERSION.SDK_INT first
CAMERAS = ("android.hardware.camera", "android.hardware.camera.any", "android.hardware.camera.autofocus")


def run(*command: str | Path) -> str:
    """Standard output and error of a command; raises with them when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout + done.stderr


def signature(apk: Path) -> str:
    text = run("apksigner", "verify", "--verbose", "--min-sdk-version", "26", apk)
    schemes = re.findall(r"using (v\d) scheme .*: true", text)
    assert "v2" in schemes, text
    return f"signature verifies ({', '.join(schemes)})"


def alignment(apk: Path) -> str:
    run("zipalign", "-c", "-p", "4", apk)
    return "zip entries are aligned"


def manifest(apk: Path) -> str:
    text = run("aapt2", "dump", "badging", apk)
    for expected in (
        "name='pocketseg.demo'",
        "sdkVersion:'26'",
        "targetSdkVersion:'36'",
        "launchable-activity: name='poc",
    ):
        assert expected in text, f"no {expected} in {text}"
    permissions = re.findall(r"uses-permission: name='([^']*)'", text)
    assert permissions == ["android.permission.CAMERA"], permissions
    for camera in CAMERAS:
        assert f"uses-feature-not-required: name='{camera}'" in text, f"{camera} is required: {text}"
    debuggable = "application-debuggable" in text
    assert debuggable == ("debug" in apk.stem), f"debuggable: {debuggable}"
    return f"manifest: API 26 to 36, the camera is the only permission and not required, debuggable: {debuggable}"


def vendor_libraries(apk: Path) -> str:
    """What the archives' manifests ask of the app's: Gradle's merger takes it over, aapt2 alone does not."""
    archives = sorted((HERE / "build" / "apk" / "aar").glob("*/AndroidManifest.xml"))
    wanted = [name for path in archives for name in native_libraries_of(path.read_text(encoding="utf-8"))]
    assert wanted, "no archive names a native library: the check sees nothing"
    tree = run("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk)
    found = re.findall(
        r"E: uses-native-library.*\n\s+A: [^\n]*android:name\([^\n]*\)=\"([^\"]*)\".*\n.*required.*=false", tree
    )
    assert sorted(found) == sorted(wanted), f"{found}, the archives want {wanted}"
    return f"native libraries of the vendor that the app may load: {', '.join(found)}"


def native_libraries_of(manifest: str) -> list[str]:
    """The names in a manifest's uses-native-library elements."""
    return re.findall(r'<uses-native-library\s+android:name="([^"]*)"', manifest)


def resources(apk: Path) -> str:
    table = run("aapt2", "dump", "resources", apk)
    with zipfile.ZipFile(apk) as archive:
        files = [name for name in archive.namelist() if name.startswith("res/") and name.endswith(".xml")]
    for name in files:
        assert "E: " in run("aapt2", "dump", "xmltree", "--file", name, apk), name
    entries = len(re.findall(r"^\s+resource 0x", table, re.MULTILINE))
    assert entries > 50, table
    return f"resources parse: {entries} entries, {len(files)} XML files"


def references(apk: Path) -> str:
    """Every class, method and field that the dex code names exists in the framework (API 36) or in the APK."""
    missing = missing_references(apk, "framework")
    assert not missing, "; ".join(missing[:20])
    return "every class, method and field named in the dex code is in the framework or in the APK"


def oldest_android(apk: Path) -> str:
    """What the framework of API 26 lacks is named only where the code asks for the version before."""
    missing = missing_references(apk, "oldest-framework")
    unguarded = [line for line in missing if "other context" in line or not any(name in line for name in GUARDED)]
    assert not unguarded, "; ".join(unguarded[:20])
    assert missing, "nothing is missing in API 26, though the code has newer things: the check sees nothing"
    return f"{len(missing)} references that API 26 lacks, all behind a version check in {' and '.join(GUARDED)}"


def missing_references(apk: Path, framework: str) -> list[str]:
    """r8's list of what neither the framework nor the APK has. The framework's jar has no java.*: Java's own serve."""
    work = HERE / "build" / "apk"
    with zipfile.ZipFile(apk) as archive:
        dexes = sorted(name for name in archive.namelist() if name.endswith(".dex"))
        for name in dexes:
            archive.extract(name, work / "check")
    java = Path(shutil.which("java")).resolve()
    arguments = ["--check", "--lib", next(PIECES.glob(f"{framework}/*.jar")), "--lib", java.parents[1]]
    for target in [work / "classes.jar", *PIECES.glob("app/*.jar"), *work.glob("aar/*/classes.jar")]:
        arguments += ["--target", target]
    for name in dexes:
        arguments += ["--source", work / "check" / name]
    tracer = [
        java,
        "-Xmx2g",
        "-cp",
        next(PIECES.glob("compiler/r8-*.jar")),
        "com.android.tools.r8.tracereferences.TraceReferences",
    ]
    done = subprocess.run([str(part) for part in [*tracer, *arguments]], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    missing = sorted(set(re.findall(r"Missing (?:class|method|field) [^\n]*\)", text)))
    assert missing or done.returncode == 0, text[-2000:]
    return missing


def native_libraries(apk: Path) -> str:
    found = []
    with zipfile.ZipFile(apk) as archive:
        names = [name for name in archive.namelist() if name.startswith("lib/")]
        for abi in ABIS:
            libraries = [name for name in names if name.startswith(f"lib/{abi}/")]
            assert any(name.endswith("libtensorflowlite_jni.so") for name in libraries), names
            found += [f"{abi} {Path(name).name} {page_alignment(archive.read(name))} KiB" for name in libraries]
        others = {name.split("/")[1] for name in names} - set(ABIS)
    assert not others, others
    return f"native libraries and their page alignment: {'; '.join(found)}"


def page_alignment(elf: bytes) -> int:
    """The smallest alignment, in KiB, of an ELF file's loadable segments."""
    assert elf[:4] == b"\x7fELF" and elf[4] in (1, 2), "no ELF file"
    if elf[4] == 1:  # 32 bits
        start, size, count = struct.unpack_from("<I", elf, 28)[0], *struct.unpack_from("<HH", elf, 42)
        segments = [struct.unpack_from("<I24xI", elf, start + i * size) for i in range(count)]
        return min(align for kind, align in segments if kind == 1) // 1024
    start, size, count = struct.unpack_from("<Q14xHH", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<II40xQ", elf, start + i * size) for i in range(count)]
    return min(align for kind, _, align in segments if kind == 1) // 1024


def models(apk: Path) -> str:
    """The APK's models are the assets' files, and the presets that belong there are among them, byte for byte."""
    with zipfile.ZipFile(apk) as archive:
        packed = {Path(n).name: archive.read(n) for n in archive.namelist() if n.startswith("assets/models/")}
        stored = all(i.compress_type == 0 for i in archive.infolist() if i.filename.endswith(".tflite"))
    on_disk = {path.name: path.read_bytes() for path in (ASSETS / "models").iterdir()}
    assert packed == on_disk, sorted(packed.keys() ^ on_disk.keys())
    assert stored, "a .tflite is compressed"
    wanted = presets()
    for preset in wanted:
        for path in (preset, preset.with_suffix(".json")):
            assert packed[path.name] == path.read_bytes(), path.name
    return f"{len(packed) // 2} models, {len(wanted)} of them presets, identical to the files in the repository"


def shaders(apk: Path) -> str:
    """The page's shaders, which the app draws with."""
    sources = {path.name: path.read_bytes() for path in (HERE.parent / "web_demo" / "shaders").glob("*.glsl")}
    with zipfile.ZipFile(apk) as archive:
        packed = {Path(n).name: archive.read(n) for n in archive.namelist() if n.endswith(".glsl")}
    assert sources and packed == sources, sorted(packed.keys() ^ sources.keys())
    return f"{len(packed)} shaders, identical to web_demo's"


def shrunk(apk: Path) -> str:
    """The release's code against the debug build's beside it."""

    def code(path: Path) -> int:
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist() if info.filename.endswith(".dex"))

    release, debug = code(apk), code(apk.with_name(apk.name.replace("release", "debug")))
    assert release < 0.5 * debug, f"{release} bytes of code, {debug} in the debug build"
    return f"shrunk: {release // 1024} KiB of code, {debug // 1024} KiB in the debug build"


def size(apk: Path) -> str:
    mib = apk.stat().st_size / 2**20
    assert mib <= MAX_MIB, f"{mib:.1f} MiB, more than {MAX_MIB}"
    return f"{mib:.1f} MiB"


CHECKS: tuple[Callable[[Path], str], ...] = (
    *(signature, alignment, manifest, vendor_libraries, resources, native_libraries, models, shaders, size),
)
# The shrinker moves code out of the methods that ask for the version; what it starts from is the debug build's.
DEBUG_CHECKS = (references, oldest_android)
RELEASE_CHECKS = (shrunk,)


def main(apks: list[Path]) -> int:
    """Run all checks; 1 when one failed."""
    failed = 0
    for apk in apks:
        for check in CHECKS + (DEBUG_CHECKS if "debug" in apk.stem else RELEASE_CHECKS):
            name = f"{apk.stem}, {check.__name__}"
            try:
                print(f"ok {name}: {check(apk)}", flush=True)
            except (AssertionError, OSError, KeyError, struct.error, zipfile.BadZipFile) as error:
                failed += 1
                print(f"FAILED {name}: {' '.join(str(error).split())}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
