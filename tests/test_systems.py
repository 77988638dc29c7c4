"""Habits of one system: what Windows and macOS do otherwise, as far as another system can play them."""

import ast
import errno
import io
import os
import sys
import types
from pathlib import Path

import pytest

from keras_models import command
from keras_models.training import runs

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("keras_models", "tflite") for path in (ROOT / folder).rglob("*.py"))
UNIX = {"fcntl", "grp", "pwd", "resource", "termios"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_unix_or_reads_text_in_the_systems_encoding(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    assert not imported & UNIX
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        owner = getattr(getattr(call.func, "value", None), "id", "")
        named = {keyword.arg for keyword in call.keywords}
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if name in ("read_text", "write_text") and owner != "command":
            assert "encoding" in named, f"line {call.lineno}"
        if name == "open" and modes and not owner and set(modes[-1]) <= set("rwax+t"):
            assert "encoding" in named, f"line {call.lineno}"


def test_a_folder_is_written_where_an_empty_one_is(tmp_path, monkeypatch):
    """Windows renames onto nothing that is there."""
    replace = Path.replace

    def as_windows(self, target):
        if Path(target).is_dir():
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", as_windows)
    (tmp_path / "out").mkdir()
    with command.whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a", encoding="utf-8")
    assert (tmp_path / "out/a.txt").is_file()


@pytest.mark.parametrize("free", [True, False])
def test_a_run_folder_is_locked_on_windows(tmp_path, monkeypatch, free):
    """The byte that is locked is none that another process reads to say who holds it."""
    asked = []

    def locking(descriptor, mode, count):
        asked.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if not free:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    with (tmp_path / "lock").open("a+", encoding="utf-8") as file:
        monkeypatch.setattr(os, "name", "nt")
        assert runs._lock(file) is free
        monkeypatch.undo()
    assert asked == [(1 << 20, 2, 1)]


def test_a_name_that_standard_output_cannot_spell_is_no_traceback(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", write_through=True))
    with pytest.raises(SystemExit) as stopped:
        command.run(lambda: print("wrote 写真.jpg"))
    assert stopped.value.code == 0
    assert written.getvalue() == b"wrote \\u5199\\u771f.jpg\n"


def test_a_reader_that_went_is_no_error_on_windows(monkeypatch):
    """There a closed pipe is an invalid argument."""
    gone = OSError(errno.EINVAL, "Invalid argument")
    assert not command._nobody_reads(gone)
    monkeypatch.setattr(os, "name", "nt")
    assert command._nobody_reads(gone)
