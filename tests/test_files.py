"""A file is whole or not there, and nobody but its owner reads it."""

from __future__ import annotations

import os
import threading

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.files import make_folder, write_new, write_whole


def test_a_reader_meets_the_old_file_or_the_new_one(tmp_path):
    texts = {letter * 400_000 for letter in "abc"}
    path = tmp_path / "file"
    write_whole(path, b"a" * 400_000)
    done = threading.Event()

    def write():
        for turn in range(30):
            write_whole(path, b"abc"[turn % 3 : turn % 3 + 1] * 400_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_text() in texts
    writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    (tmp_path / ".file.0a1b2c3d.part").write_text("half")

    write_whole(tmp_path / "file", b"whole")

    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_write_keeps_the_mode_and_follows_a_link(tmp_path):
    (real := tmp_path / "real").write_text("old")
    real.chmod(0o640)
    (link := tmp_path / "link").symlink_to(real)

    write_whole(link, b"new")

    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_write_that_fails_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(RecordError, match="cannot be written"):
        write_whole(tmp_path / "there" / "file", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_what_is_made_is_its_owners_alone_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_folder(tmp_path / "a" / "b")
        write_whole(tmp_path / "a" / "b" / "whole", b"x")
        write_new(tmp_path / "a" / "b" / "new", b"x")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*")}
    assert modes == {"b": 0o700, "whole": 0o600, "new": 0o600}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
