"""A result appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clipdiy_lab.errors import ClipdiyError, ConfigError, OutputError
from clipdiy_lab.files import atomic_path, bytes_on_disk, open_file, read_bytes, read_text


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to write to, which is also the current one."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path, *, folder=False, then=None):
    """Write something; `then` is an error to end with, or a function to call."""
    with atomic_path(path, folder=folder) as part:
        (part / "mine" if folder else part).write_text("half")
        if isinstance(then, type | BaseException):
            raise then
        if then:
            then()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_and_only_then(place):
    target = place / "note.txt"
    with atomic_path(target) as part:
        part.write_text("whole")
        assert not target.exists()
        assert part.name == "note.txt"
        assert not list(place.glob("*.txt"))
    assert target.read_text() == "whole"
    assert names(place) == ["note.txt"]


@pytest.mark.parametrize("form", [str, Path, lambda path: path.name])
def test_paths_of_every_form(place, form):
    with atomic_path(form(place / "note.txt")) as part:
        part.write_text("x")
    assert names(place) == ["note.txt"]


def test_an_existing_file_is_replaced_or_kept(place):
    target = place / "note.txt"
    target.write_text("old")
    with pytest.raises(KeyError):
        write(target, then=KeyError)
    assert target.read_text() == "old"
    with atomic_path(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    assert names(place) == ["note.txt"]


def test_writers_that_look_at_the_suffix_work(place):
    with atomic_path(place / "numbers.npz") as part:
        np.savez(part, a=np.arange(3))
    with np.load(place / "numbers.npz") as stored:
        np.testing.assert_array_equal(stored["a"], [0, 1, 2])


def test_the_permissions_are_those_of_any_new_file(place):
    plain = place / "plain"
    plain.touch()
    with atomic_path(place / "atomic") as part:
        part.touch()
    with atomic_path(place / "atomic-folder", folder=True):
        pass
    (place / "plain-folder").mkdir()
    assert (place / "atomic").stat().st_mode == plain.stat().st_mode
    assert (place / "atomic-folder").stat().st_mode == (place / "plain-folder").stat().st_mode


def test_a_folder_appears_at_the_end_and_only_then(place):
    target = place / "run.zarr"
    with atomic_path(target, folder=True) as part:
        (part / "deep").mkdir()
        (part / "deep" / "chunk").write_bytes(b"1")
        assert not target.exists()
    assert (target / "deep" / "chunk").read_bytes() == b"1"
    assert names(place) == ["run.zarr"]


def test_an_empty_folder_may_stand_there_already(place):
    (place / "run").mkdir()
    with atomic_path(place / "run", folder=True) as part:
        (part / "a").touch()
    assert names(place / "run") == ["a"]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, ConfigError, MemoryError])
def test_a_block_that_fails_leaves_nothing_and_keeps_its_error(place, folder, error):
    with pytest.raises(error):
        write(place / "out", folder=folder, then=error)
    assert names(place) == []


# ------------------------------------------------------------------------------------------ what stands in the way


def refused(path, says, *, folder=False):
    """The error, which must come before the block begins."""
    with pytest.raises(OutputError, match=says) as caught, atomic_path(path, folder=folder):
        pytest.fail("the block began")
    assert isinstance(caught.value, ClipdiyError | OSError)
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize("folder", [False, True])
def test_places_that_cannot_be(place, folder):
    (place / "file").touch()
    assert repr(str(place / "no")) in refused(place / "no" / "a.png", "not an existing folder", folder=folder)
    refused(place / "file" / "a.png", "not an existing folder", folder=folder)
    refused("/proc/a.png", "a folder that you can write to", folder=folder)
    refused(place / "a\0b", "does not name a", folder=folder)
    refused(place / "a\0b" / "c", "Cannot write", folder=folder)
    refused("", "does not name a", folder=folder)
    refused(place / "..", "does not name a", folder=folder)
    refused("/", "does not name a", folder=folder)
    assert names(place) == ["file"]


def test_targets_of_the_other_kind(place):
    (place / "full").mkdir()
    (place / "full" / "a").touch()
    (place / "file").touch()
    refused(place / "full", "is a folder")
    refused(place / "full", "not empty", folder=True)
    refused(place / "file", "not empty", folder=True)
    assert names(place / "full") == ["a"]


def test_a_name_that_is_too_long(place):
    refused(place / ("x" * 300), "File name too long")
    refused(place / ("x" * 300), "File name too long", folder=True)
    assert names(place) == []


# ------------------------------------------------------------------------------------------------------ failing midway


def fail_with(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_a_disk_that_fails(place, monkeypatch, step, folder, number):
    monkeypatch.setattr(os, step, fail_with(number))
    said = os.strerror(number)
    with pytest.raises(OutputError, match=said) as caught, atomic_path(place / "out", folder=folder) as part:
        (part / "a" if folder else part).write_text("x")
    assert isinstance(caught.value.__cause__, OSError)
    assert repr(str(place / "out")) in str(caught.value)
    assert names(place) == []


def test_a_full_disk_inside_the_block(place):
    with pytest.raises(OutputError, match="No space left"):
        write(place / "out", then=fail_with(errno.ENOSPC))
    assert names(place) == []


def test_a_device_that_is_full(place):
    with pytest.raises(OutputError, match="No space left"):
        write(place / "out", then=lambda: Path("/dev/full").write_text("x"))
    assert names(place) == []


def test_a_block_that_writes_nothing(place):
    with pytest.raises(OutputError, match="No such file"), atomic_path(place / "out"):
        pass
    assert names(place) == []


def test_an_error_about_another_file_is_not_blamed_on_the_output(place):
    with pytest.raises(FileNotFoundError, match=r"input\.txt"), atomic_path(place / "out") as part:
        shutil.copy(place / "input.txt", part)
    assert names(place) == []


def test_a_folder_that_somebody_else_fills_meanwhile(place):
    def interfere():
        (place / "run").mkdir()
        (place / "run" / "theirs").touch()

    with pytest.raises(OutputError, match="Could not write"):
        write(place / "run", folder=True, then=interfere)
    assert names(place / "run") == ["theirs"]
    assert names(place) == ["run"]


def test_an_output_error_of_an_inner_block_passes_unchanged(place):
    with pytest.raises(OutputError, match="not an existing folder"):
        write(place / "out", then=lambda: write(place / "no" / "out"))
    assert names(place) == []


def test_a_file_system_that_cannot_flush_a_folder_is_no_error(place, monkeypatch):
    flush = os.fsync

    def refuse_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with atomic_path(place / "out") as part:
        part.write_text("x")
    assert names(place) == ["out"]


def test_data_reach_the_disk_before_the_rename(place, monkeypatch):
    steps = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("fsync"), flush(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("replace"), replace(*paths)))
    with atomic_path(place / "run", folder=True) as part:
        (part / "a").touch()
        (part / "b").touch()
    assert steps == ["fsync", "fsync", "replace", "fsync"]


# ----------------------------------------------------------------------------------------------------- what is no file


def test_only_regular_files_are_read_and_a_pipe_is_not_waited_for(place):
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    (place / "note").write_text("whole\r\n")
    (place / "link").symlink_to("note")
    (place / "astray").symlink_to("/dev/zero")
    for name, says in (("pipe", "a pipe"), ("folder", "a folder"), ("astray", "a device")):
        for read in (open_file, read_text):
            with pytest.raises(OSError, match=f"it is {says}, not a"):
                read(place / name)
    with pytest.raises(OSError, match="a symbolic link"):
        open_file(place / "link", follow=False)
    with pytest.raises(FileNotFoundError):
        open_file(place / "nothing")
    assert read_text(place / "link") == "whole\n"


def test_a_file_without_end_is_not_read_to_its_end(place):
    with (place / "huge").open("wb") as file:
        file.truncate(2**40)
    for limit in (0, 10, 2**20):
        with pytest.raises(OSError, match=f"it has more than {limit:,} bytes"):
            read_bytes(place / "huge", limit)
    assert bytes_on_disk((place / "huge").stat()) == 0


def test_a_file_that_the_disk_does_not_give(place):
    (place / "broken").symlink_to("/proc/self/mem")  # a regular file, whose first page no read gets
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        read_bytes(place / "broken", 10)
