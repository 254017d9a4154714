"""Run by test_get: fetch a dataset again and again, each time ended before another file operation, and mend it.

Usage: dying.py kill|interrupt MANIFEST FOLDER [LINKED]. With LINKED, a folder on another disk, the dataset's folder is
a link to it. Prints at how many points the fetch was ended.
"""

import os
import shutil
import sys
from pathlib import Path

from getting import without_times

from clipdiy_lab import files
from clipdiy_lab.datasets.get import fetch_dataset
from clipdiy_lab.datasets.manifests import load_manifest

HOW, MANIFEST, FOLDER = sys.argv[1], load_manifest(sys.argv[2]), Path(sys.argv[3])
LINKED = Path(sys.argv[4]) if sys.argv[4:] else None
WATCHED = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "fcntl.flock"}
DIED, COMPLETED, FAILED = 9, 0, 1


def end_before(number):
    """End this process (or interrupt it) when it is about to do its file operation of that number, from 0."""
    left = [number]

    def hook(event, args):
        if event in WATCHED and (event == "fcntl.flock" or str(FOLDER) in str(args[0])):
            left[0] -= 1
            if left[0] == -1 and HOW == "kill":
                os._exit(DIED)
            if left[0] == -1:
                raise KeyboardInterrupt

    sys.addaudithook(hook)


def fetch(number=None):
    """Fetch in a process of its own; gives its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        if number is not None:
            end_before(number)
        fetch_dataset(MANIFEST)
        code = COMPLETED
    except KeyboardInterrupt:
        code = DIED
    finally:
        os._exit(code)


def clear():
    """Begin with an empty data folder."""
    for folder in filter(None, (FOLDER / "data", LINKED)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if LINKED:
        (FOLDER / "data/own").symlink_to(LINKED)


def everything():
    """Files and folders on both disks."""
    (files, folders), (more_files, more_folders) = (
        without_times(FOLDER / "data"),
        without_times(LINKED) if LINKED else ({}, []),
    )
    return files | {f"linked/{path}": data for path, data in more_files.items()}, [*folders, *more_folders]


def main():
    os.environ["CLIPDIY_LAB_DATA"] = str(FOLDER / "data")
    files._MANY = 2  # so that the files of the archive are flushed together, as those of a large one are
    clear()
    assert fetch() == COMPLETED
    whole = everything()
    number = 0
    while True:
        clear()
        code = fetch(number)
        if code == COMPLETED:
            break
        assert code == DIED, f"point {number}: exit code {code}"
        half = {path for path, data in everything()[0].items() if whole[0].get(path, data) != data}
        assert not half, f"point {number}: {half} are there and not whole"
        assert fetch() == COMPLETED, f"point {number}: the next run failed"
        mended = everything()
        assert mended == whole, f"point {number}: {set(mended[0]) ^ set(whole[0])} {set(mended[1]) ^ set(whole[1])}"
        number += 1
    print(number)


main()
