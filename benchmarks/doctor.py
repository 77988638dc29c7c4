"""What is wrong with published sets? `python -m benchmarks.doctor NAME=DATASET:DIR ...` runs `data check` on each."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.sets import parse_whole_set
from keras_models import command
from keras_models.command import option
from keras_models.data import check


@dataclass(frozen=True)
class DoctorOptions:
    """The command's flags."""

    sets: tuple[str, ...] = option(positional=True, metavar="NAME=DATASET:DIR", help="the sets")


def main(argv: list[str] | None = None) -> None:
    """Check, print and write results/doctor.json."""
    options = command.parse(
        DoctorOptions,
        argv,
        program="python -m benchmarks.doctor",
        description=__doc__,
        example="python -m benchmarks.doctor EG1800=eg1800:eg1800 'CCP parts=ccp_parts:clothing-co-parsing'",
    )
    rows = []
    for name, kind, folder in [parse_whole_set(text) for text in options.sets]:
        with tempfile.TemporaryDirectory() as temporary:
            started, file = time.perf_counter(), Path(temporary) / "problems.json"
            check.main([folder, "--dataset", kind, "--json", str(file)])
            seconds, found = time.perf_counter() - started, json.loads(file.read_text(encoding="utf-8"))
        problems = {problem["kind"]: [problem["severity"], len(problem["files"])] for problem in found["problems"]}
        rows.append({"set": name, "photos": sum(found["splits"].values()), "seconds": round(seconds, 1)})
        rows[-1]["problems"] = problems
    machine.write("doctor", {"protocol": "data check", "rows": rows})


if __name__ == "__main__":
    command.run(main)
