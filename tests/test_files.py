"""Files are whole or untouched."""

from pathlib import Path

import pytest

from lmcourse import _files


def test_text_is_written_as_utf8_with_plain_line_ends(tmp_path):
    _files.write_text(tmp_path / "a.txt", "é\nb\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nb\r\n"


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(step, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    real_write = Path.write_bytes

    def fail(self, *arguments, **options):
        if step == "write_bytes":
            real_write(self, b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(OSError, match="no space left"):
        _files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
