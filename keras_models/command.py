"""What every command shares: options from a frozen dataclass, errors as one line, files written whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
import time
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path


class UserError(ValueError):
    """Something the user can mend: a command prints it as one line and exits with 2."""


def option(
    default=dataclasses.MISSING,
    *,
    help: str,
    choices=None,
    positional: bool = False,
    metavar=None,
    flags: tuple[str, ...] = (),
):
    """A dataclass field that is also a command-line option; without a default it is required.

    `flags`: what it is called on the command line, where that is not the field's name (`output` is also `-o`).
    """
    metadata = {"help": help, "choices": choices, "positional": positional, "metavar": metavar, "flags": flags}
    return dataclasses.field(default=default, metadata=metadata)


def parse(options: type, argv: list[str] | None, *, program: str, description: str, example: str):
    """An instance of the dataclass `options` from the command line; `--help` and mistakes end the program (exit 2).

    `bool` fields become `--name` / `--no-name`, `tuple[T, ...]` fields take comma-separated values.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        required = field.default is dataclasses.MISSING
        text = field.metadata["help"]
        if not required and field.default not in (None, "", False):
            shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
            text += f" (default: {shown})"
        arguments = {"help": text.replace("%", "%%")}
        if hints[field.name] is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments["type"] = _converter(hints[field.name])
            arguments["choices"] = field.metadata["choices"]
            arguments["metavar"] = field.metadata["metavar"]
        if field.metadata["positional"]:
            if not required:
                arguments.update(nargs="?", default=field.default)
            parser.add_argument(field.name, **arguments)
        else:
            default = {} if required else {"default": field.default}
            named = [f"--{field.name.replace('_', '-')}"] + (["-o"] if field.name == "output" else [])
            flags = field.metadata["flags"] or named
            parser.add_argument(*flags, dest=field.name, required=required, **default, **arguments)
    return options(**vars(parser.parse_args(argv)))


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


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Call `main` and exit as a command does: what it returned or 0, 2 for a user's mistake, 130 for Ctrl-C."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def progress(label: str) -> Callable[[int, int], None]:
    """A function of (done, total) that shows the share done and the time left on one line of a terminal."""
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            left = (time.monotonic() - started) / done * (total - done)
            end = "\n" if done == total else ""
            print(f"\r{label}: {done}/{total}, {left:.0f} s left ", end=end, file=sys.stderr, flush=True)

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
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
