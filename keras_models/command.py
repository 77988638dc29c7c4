"""What every command shares: options from a frozen dataclass, errors as one line, files written whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import importlib
import math
import operator
import os
import shutil
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path


class UserError(ValueError):
    """Something the user can mend: a command prints it as one line and exits with 2.

    So it does with any error whose class says `for_people`, as tflite.runtime's, which knows nothing of this package.
    """

    for_people = True


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # what `pictures.write` writes


def option(
    default=dataclasses.MISSING,
    *,
    help: str,
    choices=None,
    positional: bool = False,
    metavar=None,
    flags: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    writes: tuple[str, ...] | None = None,
    kw_only: bool = False,
):
    """A dataclass field that is also a command-line option; without a default it is required.

    `flags`: what it is called on the command line, where that is not the field's name (`output` is also `-o`).
    `least`, `most`, `above`, `below`: the range of its number, or of each of its numbers, which `check` enforces.
    `writes`: it names a file to write, with one of these suffixes or, where there are none, any.
    """
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    metadata = {"help": help, "choices": choices, "positional": positional, "metavar": metavar, "flags": flags}
    metadata["writes"] = writes
    metadata["limits"] = {words: limit for words, limit in limits.items() if limit is not None}
    return dataclasses.field(default=default, metadata=metadata, kw_only=kw_only)


_WITHIN = {"at least": operator.ge, "at most": operator.le, "above": operator.gt, "below": operator.lt}


def check(instance) -> None:
    """Raise UserError when a number of a dataclass made of `option`s is out of its range, or no finite number.

    And when a file that it names cannot be written: that is said before the work whose result it holds.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if value is not None and field.metadata.get("writes") is not None:
            _require_writable(Path(value), field)
        numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, (int, float))]
        limits = field.metadata.get("limits", {})
        if all(math.isfinite(v) and all(_WITHIN[w](v, limit) for w, limit in limits.items()) for v in numbers):
            continue
        wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits.items()) or "a finite number"
        raise UserError(f"{flag_of(field)} must be {wanted}. Received: {value}")


def _require_writable(path: Path, field: dataclasses.Field) -> None:
    suffixes, flag = field.metadata["writes"], flag_of(field)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(f"{flag} writes {', '.join(suffixes)}. Received: {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; {flag} takes the name of a file.")
    if path.suffix == ".json" and path.with_suffix(".tflite").is_file():
        raise UserError(f"{path} is the place of the spec of {path.with_suffix('.tflite')}. Choose another {flag}.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"Cannot write {path}: {folder} is no folder that can be written to. Choose another {flag}.")


def flag_of(field: dataclasses.Field) -> str:
    """What a field is called on the command line, `--learning-rate`."""
    return (field.metadata.get("flags") or [f"--{field.name.replace('_', '-')}"])[-1]


def parse(
    options: type,
    argv: list[str] | None,
    *,
    program: str,
    description: str,
    example: str,
    more: dict[str, tuple[dataclasses.Field, object]] | None = None,
):
    """An instance of the dataclass `options` from the command line; `--help` and mistakes end the program (exit 2).

    `bool` fields become `--name` / `--no-name`, `tuple[T, ...]` fields take comma-separated values, or several words
    where they are positional. A number out of its
    range is a UserError. `more`: fields of other dataclasses, each with its type, by the name under which they are
    flags too; those that are given arrive as the dictionary `changes` of `options`.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if field.name != "changes":
            _add(parser, field, hints[field.name])
    for name, (field, hint) in (more or {}).items():
        _add(parser, field, hint, name)
    values = vars(parser.parse_args(argv))
    for field in dataclasses.fields(options):
        if field.metadata.get("positional") and isinstance(values.get(field.name), list):
            values[field.name] = tuple(values[field.name])
    if more is not None:
        values["changes"] = {name: value for name in more if (value := values.pop(name)) is not None}
    made = options(**values)
    check(made)
    return made


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field, hint, changed: str | None = None) -> None:
    """Add the flag of a field; `changed`: its name when it replaces a number that something else has."""
    required = field.default is dataclasses.MISSING and changed is None
    text = field.metadata["help"]
    if not required and changed is None and field.default not in (None, "", False, ()):
        shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        text += f" (default: {shown})"
    arguments = {"help": text.replace("%", "%%")}
    if hint is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    else:
        arguments["type"] = _converter(hint)
        arguments["choices"] = field.metadata["choices"]
        arguments["metavar"] = field.metadata["metavar"]
    default = None if changed else field.default
    if field.metadata["positional"]:
        if typing.get_origin(hint) is tuple:  # one word each; no value is the default
            arguments |= {"nargs": "+" if required else "*", "type": typing.get_args(hint)[0]}
            arguments |= {} if required else {"default": default}
        elif not required:
            arguments.update(nargs="?", default=default)
        parser.add_argument(field.name, **arguments)
        return
    named = [flag_of(field)] + (["-o"] if field.name == "output" else [])
    flags = field.metadata["flags"] or named
    arguments |= {} if required else {"default": default}
    parser.add_argument(*flags, dest=changed or field.name, required=required, **arguments)


def _converter(hint) -> Callable[[str], object]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]

        def values(text: str) -> tuple:
            return tuple(item(part) for part in text.split(","))

        values.__name__ = f"comma-separated {item.__name__}"
        return values
    return hint


def dispatch(
    verbs: dict[str, tuple[str, str]], argv: list[str] | None, *, program: str, description: str, example: str
) -> int:
    """Call `main(rest)` of the module that the first of the arguments names; `verbs`: name -> (module, description).

    Returns its exit status. UserError for a verb that does not exist, or needs a package that is not installed.
    """
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(f"usage: {program} VERB ...\n\n{description}\n\nverbs:")
        print("\n".join(f"  {name:12s}{what}" for name, (_, what) in verbs.items()))
        print(f"\nexample:\n  {example}")
        return 0
    if verb not in verbs:
        raise UserError(f"Unknown verb. Valid names: {', '.join(verbs)}. Received: {verb!r}")
    try:
        return importlib.import_module(verbs[verb][0]).main(rest) or 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", __package__, "tflite"):
            raise
        raise UserError(f"{verb} needs {error.name}, which is not installed. Run: pip install {error.name}") from error


def load_keras():
    """Keras with its backend, imported without the lines that TensorFlow prints when it starts.

    Commands call it once their options are known to be good: the import takes seconds. UserError when the backend
    (KERAS_BACKEND, or Keras' own setting) is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _quiet():
            import keras

            if keras.backend.backend() == "tensorflow":
                keras.ops.zeros(1)  # the first operation looks for devices, and would report on them
    except ImportError as error:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise UserError(
            f"Keras' backend {backend} cannot be imported ({error}). Install it, or choose another: "
            "KERAS_BACKEND=tensorflow, jax or torch in the environment."
        ) from error
    return keras


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what C++ writes to standard error from the screen; it is shown when the block fails."""
    try:
        screen = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(screen, log.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Call `main` and exit as a command does: what it returned or 0, 2 for a user's mistake, 130 for Ctrl-C.

    What the system refuses (no file, no permission, a full disk, also behind standard output) is one line and 2; 1
    without a word where nobody reads on, as behind `| head -1`.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a name in letters that the terminal or file does not know ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _status(main)
        sys.stdout.flush()  # while an error can still be told
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # what is left in its buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
        if not _nobody_reads(error):
            print(f"error: {error.strerror or error}: {error.filename or 'standard output'}", file=sys.stderr)
            status = 2
    sys.exit(status)


def _nobody_reads(error: OSError) -> bool:
    """Whether standard output is a pipe whose reader is gone; Windows calls that an invalid argument."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def _status(main: Callable[[], int | None]):
    try:
        return main() or 0
    except SystemExit as error:  # argparse's, after --help and mistakes
        return error.code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except ValueError as error:
        if not getattr(error, "for_people", False):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def progress(label: str) -> Callable[[int, int], None]:
    """A function of (done, total) that shows a bar with the time left on a terminal, and nothing elsewhere."""
    bar = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            from tqdm import tqdm  # takes a moment: not for --help

            bar = tqdm(desc=label, total=total, disable=None)
        bar.update(done - bar.n)
        if done == total:
            bar.close()
            bar = None

    return show


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Its suffix is that of `path`. Raises UserError when the file cannot be written (no permission, a full disk).
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}. What was there before is untouched."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes it when the block ends well, and vanishes when it does not.

    Raises UserError when something is at `path` already, other than an empty folder, or cannot be written there.
    """
    path = Path(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} is there already. Choose another name, or remove it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if path.is_dir():  # empty; Windows renames onto nothing that is there
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
