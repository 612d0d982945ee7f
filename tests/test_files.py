"""Files that are written whole."""

import os
from pathlib import Path

import pytest

from invad_fast import InputError
from invad_fast.files import make_folder, write_whole, written_whole


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_a_new_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "file") as partial:
            partial.unlink()  # as libraries that make a private file of their own
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_an_old_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    write_whole(tmp_path / "v3", "old")
    (tmp_path / "v3").chmod(0o640)
    (tmp_path / "current").symlink_to("v3")
    write_whole(tmp_path / "current", "new")
    assert (tmp_path / "current").is_symlink() and (tmp_path / "v3").read_text() == "new"
    assert (tmp_path / "v3").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["gone/file", "a" * 300, "folder"])
def test_what_cannot_be_written_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write "):
        write_whole(tmp_path / name, "x")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: give a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot make the folder .*Not a directory"):
        make_folder(tmp_path / "file" / "below")
