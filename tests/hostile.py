"""What the commands answer to bad input and bad luck, case by case: `python -m tests.hostile [WORD]`.

Each case has a fresh copy of a small project (photos, a network, its `.tflite`, a run folder), something is done to it,
and a command runs in it. Whatever is refused must leave every file as it was, end with 2 (1 for a gate) and say in one
message what is wrong, where, and what to do; no case may end in a traceback. test_hostile.py asserts that, this prints
it. `WORD`: only the cases whose name or number it is part of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import runpy
import shutil
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

from keras_models.training import runs
from tests.hostile_cases import CASES, Case
from tests.misfortunes import make_place


@dataclass(frozen=True)
class Answer:
    """How a command ended (None: with a traceback), what it said, and the files that are not as they were."""

    status: int | None
    text: str
    changed: tuple[str, ...]


def answer(case: Case, place: Path, root: Path) -> Answer:
    """What the case's command says in `root`, which becomes a copy of `place`."""
    shutil.copytree(place, root)
    module, *arguments = case.command.split()
    happening = case.act(root)
    with happening if hasattr(happening, "__enter__") else contextlib.nullcontext(), contextlib.chdir(root):
        before = _state(root)
        status, said = _run(module, arguments, case.stdout)
        after = _state(root)
    changed = sorted(name for name in before | after if before.get(name) != after.get(name))
    return Answer(status, said, tuple(changed))


def problems(case: Case, found: Answer) -> list[str]:
    """What is wrong with an answer."""
    kept = case.status == 2 and not case.stdout if case.keeps is None else case.keeps
    wrong = [] if found.status == case.status else [f"ended with {found.status}, not {case.status}"]
    if "Traceback" in found.text:
        wrong.append("a traceback")
    if not re.search(case.says, found.text, re.DOTALL):
        wrong.append(f"does not say {case.says!r}")
    if kept and found.changed:
        wrong.append(f"changed {', '.join(found.changed)}")
    return wrong


def _run(module: str, arguments: list[str], stdout: str | None) -> tuple[int | None, str]:
    """`python -m module arguments`, in this process."""
    said = io.StringIO()
    out = _opened(stdout) if stdout else said
    argv, sys.argv = sys.argv, [module, *arguments]
    package = f"{module}.__main__" if module in ("keras_models", "keras_models.data") else module
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_module(package, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        status = None
        said.write(traceback.format_exc())
    finally:
        sys.argv = argv
        if stdout:
            with contextlib.suppress(OSError):
                out.close()
    return status, said.getvalue().strip()


def _opened(name: str):
    if name != "closed":
        return open(name, "w")  # noqa: PTH123 (it is closed where it was opened for)
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def _state(root: Path) -> dict[str, str]:
    """Each file's digest; what is no file by its kind alone."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.name == runs.LOCK:
            continue
        regular = path.is_file() and not path.is_symlink()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if regular else "no file"
    return found


def main(argv: list[str] | None = None) -> int:
    """Print the table. Returns 1 when an answer is not what it should be."""
    word = " ".join(sys.argv[1:] if argv is None else argv)
    chosen = [case for case in CASES if word in (str(case.item), "") or word in case.name]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder) / "place")
        for number, case in enumerate(chosen):
            found = answer(case, place, Path(folder) / str(number))
            wrong = problems(case, found)
            bad += bool(wrong)
            print(f"{case.item:2d}  {case.name}\n    $ python -m {case.command[:110]}")
            shown = found.text.replace(folder, "").splitlines()
            print("\n".join(f"    {line[:200]}" for line in (shown if wrong else shown[-3:])))
            print(f"    -> {found.status}" + "".join(f"\n    WRONG: {what}" for what in wrong), flush=True)
            shutil.rmtree(Path(folder) / str(number))
    print(f"{len(chosen)} cases, {bad} of them answered otherwise than promised")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
