"""What is wrong with published sets? `python -m benchmarks.doctor NAME=KIND:DIR ...`: `data check` on each of them."""

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from keras_models import data
from keras_models.command import UserError
from keras_models.data import check


def main(sets: list[str]) -> None:
    """Check, print and write results/doctor.json."""
    rows = []
    for text in sets:
        name, _, place = text.partition("=")
        kind, colon, folder = place.partition(":")
        if not colon or kind not in data.dataset_names():
            raise UserError(f"A set is NAME=KIND:DIR. Received: {text!r}")
        with tempfile.TemporaryDirectory() as temporary:
            started, file = time.perf_counter(), Path(temporary) / "problems.json"
            check.main([folder, "--dataset", kind, "--json", str(file)])
            seconds, found = time.perf_counter() - started, json.loads(file.read_text(encoding="utf-8"))
        problems = {problem["kind"]: [problem["severity"], len(problem["files"])] for problem in found["problems"]}
        rows.append({"set": name, "photos": sum(found["splits"].values()), "seconds": round(seconds, 1)})
        rows[-1]["problems"] = problems
    machine.write("doctor", {"protocol": "data check", "rows": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
