"""Files are there whole or not at all; what killed processes left is swept; locks end with their process."""

import errno
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from eulernet.errors import UserError
from eulernet.files import holders, locked, replacing, stamps, write_atomically

FORK = multiprocessing.get_context("fork")


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "notes.txt"
    write_atomically(file, lambda temporary: temporary.write_text("old"))
    with pytest.raises(ZeroDivisionError):
        write_atomically(file, lambda temporary: temporary.write_text("new") / 0)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    write_atomically(file, lambda temporary: temporary.write_text("new"), mode=0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_folder_appears_whole_and_replaces_no_other(tmp_path):
    with replacing(tmp_path / "store") as temporary:
        (temporary / "vocab").mkdir(parents=True)
        (temporary / "vocab" / "a").write_text("a")
        assert not (tmp_path / "store").exists()
    assert (tmp_path / "store" / "vocab" / "a").read_text() == "a"
    with pytest.raises(OSError, match="not empty"), replacing(tmp_path / "store") as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_disk_has_the_bytes_before_the_name_and_then_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(f"/proc/self/fd/{fd}").resolve().name), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append("rename"), replace(self, to)))
    write_atomically(tmp_path / "notes.txt", lambda temporary: temporary.write_text("new"))
    assert done == ["notes.txt", "rename", tmp_path.name]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full; free some space, or give another output=",
        ),
        (ValueError("polars: No space left on device"), "the disk is full"),
    ],
)
def test_a_full_disk_is_one_line(tmp_path, error, message):
    with pytest.raises(UserError, match=f"notes.txt: {message}"), replacing(tmp_path / "notes.txt", place="output="):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"missing/notes.txt cannot be written \(No such file"):
        write_atomically(tmp_path / "missing" / "notes.txt", lambda temporary: None)

    def read_only(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", read_only)  # tests may run as root, who writes anywhere
    with pytest.raises(UserError, match=r"notes.txt cannot be written \(Read-only file system\); give another folder"):
        write_atomically(tmp_path / "notes.txt", lambda temporary: None)


def test_an_error_about_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "notes.txt"):
        (tmp_path / "input.csv").read_text()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_makes_stays(tmp_path):
    ready, file = FORK.Barrier(2), tmp_path / "notes [1].txt"

    def write_for_ever():
        with replacing(file) as temporary:
            temporary.write_text("half")
            ready.wait()
            signal.pause()

    process = FORK.Process(target=write_for_ever)
    process.start()
    ready.wait(60)
    write_atomically(file, lambda temporary: temporary.write_text("whole"))
    assert len(list(tmp_path.glob(".*.new"))) == 1
    process.kill()
    process.join()
    write_atomically(file, lambda temporary: temporary.write_text("whole"))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    file, failed = tmp_path / "notes.txt", []

    def write():
        try:
            for _ in range(20):
                write_atomically(file, lambda temporary: temporary.write_text("whole"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path):
    (tmp_path / "lock").touch()
    ready = FORK.Barrier(2)

    def hold():
        with locked(tmp_path / "lock"):
            ready.wait()
            signal.pause()

    process = FORK.Process(target=hold)
    process.start()
    ready.wait(60)
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
        pass
    process.kill()
    process.join()
    with locked(tmp_path / "lock", wait=False), locked(tmp_path, wait=False):
        pass
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing"):
        pass


def test_a_folder_that_vanishes_amidst_a_walk_is_passed_over(tmp_path, monkeypatch):
    for name in ("b", "a/deep", "gone"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.json").touch()
    scan = os.scandir

    def scandir(place):
        if Path(place).name == "gone":
            raise FileNotFoundError(errno.ENOENT, "gone", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert holders(tmp_path, "report.json") == [tmp_path / "a/deep", tmp_path / "b"]


def test_stamps_tell_a_replaced_file_whatever_the_clock_says(tmp_path):
    same, changed, missing = (tmp_path / name for name in ("same", "changed", "missing"))
    same.touch()
    changed.touch()
    before = stamps([same, changed, missing])
    write_atomically(changed, lambda temporary: temporary.write_text("new"))
    os.utime(changed, (0, 0))
    after = stamps([same, changed])
    assert before.keys() == after.keys()
    assert after[same] == before[same]
    assert after[changed] != before[changed]
