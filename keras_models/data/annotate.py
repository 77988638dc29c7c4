"""Enter attributes of the people in photos, by keys, on the page of `data review`: a CSV for `evaluate --attributes`.

Each value of an attribute has a number: three keys tell race, gender and age as ExtremeC3Net's section 4.3 does, A adds
another person, Enter shows the next photo. Every answer is in the CSV at once, and the same command goes on where it
was left. The attributes are those who sees the photo ascribes; ask the people themselves where you can.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data import attributes, page
from keras_models.data.datasets import splits
from keras_models.data.listing import stem_of

DEFAULT = " ".join(f"{name}={','.join(values)}" for name, values in attributes.PAPER.items())


@dataclass(frozen=True)
class AnnotateOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="its kind; python -m keras_models.data info lists them")
    output: str | None = option(None, metavar="FILE.csv", help="the list (default: DIR/attributes.csv)")
    attributes: str = option(
        DEFAULT, metavar="TEXT", help="attributes and their values, as 'hat=none,cap glasses=no,yes'"
    )
    port: int = option(0, help="port on 127.0.0.1 (default: a free one)")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a dataset or a list that cannot be read."""
    options = command.parse(
        AnnotateOptions,
        argv,
        program="python -m keras_models.data annotate",
        description=__doc__,
        example="python -m keras_models.data annotate eg1800 --dataset eg1800 -o people.csv",
    )
    path = Path(options.output or Path(options.data_dir) / "attributes.csv")
    session = Annotation(options.data_dir, options.dataset, path, values_of(options.attributes))
    page.serve(session, options.port)
    done = sum(bool(people) for people in session.people.values())
    print(f"{done} of {len(session.index)} photos annotated: {path}")
    print(
        f"Next: python -m keras_models.evaluate MODEL --dataset {options.dataset} --data-dir {options.data_dir} "
        f"--attributes {path}"
    )
    return 0


def values_of(text: str) -> dict[str, tuple[str, ...]]:
    """Attributes and their values, of a text such as `hat=none,cap glasses=no,yes`. UserError for anything else."""
    found = {}
    for word in text.split():
        name, equals, values = word.partition("=")
        listed = tuple(value for value in values.split(",") if value)
        if not equals or not name or name == "image" or name in found or not 1 < len(set(listed)) == len(listed):
            raise UserError(
                f"--attributes names each attribute with two values or more, as 'hat=none,cap glasses=no,yes'. "
                f"Received: {word!r}"
            )
        found[name] = listed
    if not found:
        raise UserError("--attributes names no attribute.")
    return found


class Annotation:
    """The people of a dataset's photos, as a `page.Session`; the CSV at `path` is written whole at every answer."""

    def __init__(self, data_dir: str, kind: str, path: Path, values: dict[str, tuple[str, ...]]):
        self.title, self.path = Path(data_dir).resolve().name, path
        self.sets = [data.load(kind, data_dir, split) for split in splits(kind, data_dir)]
        places = {stem_of(n): (s, i) for s in self.sets for i, n in enumerate(s.names)}
        self.index = dict(sorted(places.items()))
        self.people = attributes.read(path) if path.is_file() else {}
        # What an earlier list has beside `values` stays as it is.
        earlier = attributes.order_of(self.people)
        self.columns = tuple(dict.fromkeys([*values, *earlier]))
        self.values = {a: tuple(dict.fromkeys([*listed, *earlier.get(a, ())])) for a, listed in values.items()}
        self.changed: list[str] = []

    def state(self) -> dict:
        return {
            "mode": "annotate",
            "title": self.title,
            "photos": [self._photo(name) for name in self.index],
            "attributes": [{"name": name, "values": values} for name, values in self.values.items()],
            "seen": len(self.changed),
        }

    def apply(self, action: dict) -> dict:
        """Save the `people` of a `photo`: a list of {attribute: value}. Answers with what changed since `seen`."""
        name, people = action["photo"], action["people"]
        if action["action"] != "annotate" or name not in self.index:
            raise UserError(f"No such action or photo: {action['action']!r}, {name!r}")
        for person in people:
            for attribute, value in person.items():
                if value not in self.values.get(attribute, ()) and attribute not in self.columns[len(self.values) :]:
                    raise UserError(f"{attribute} has no value {value!r}.")
        changed = {**self.people, name: [dict(person) for person in people if person]}
        with command.whole_file(self.path) as path:
            attributes.write(path, changed, self.columns)
        self.people = changed
        self.changed.append(name)
        since = action.get("seen", len(self.changed) - 1)
        return {"photos": [self._photo(each) for each in set(self.changed[since:])], "seen": len(self.changed)}

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        dataset, i = self.index[name]
        image, labels = page.fitted(*dataset.load(i))
        colors = pictures.class_colors(dataset)[labels]
        return image, np.dstack([colors, np.where(labels > 0, 255, 0).astype(np.uint8)])

    def _photo(self, name: str) -> dict:
        return {"name": name, "people": self.people.get(name, []), "version": 0}
