"""Run by test_get: fetch a dataset again and again, each time ended before another file operation, and mend it.

Usage: dying.py kill|interrupt MANIFEST FOLDER. Prints at how many points the fetch was ended.
"""

import os
import shutil
import sys
from pathlib import Path

from getting import without_times

from clipdiy_lab.datasets.get import fetch_dataset
from clipdiy_lab.datasets.manifests import load_manifest

HOW, MANIFEST, FOLDER = sys.argv[1], load_manifest(sys.argv[2]), Path(sys.argv[3])
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


def main():
    os.environ["CLIPDIY_LAB_DATA"] = str(FOLDER / "data")
    assert fetch() == COMPLETED
    whole = without_times(FOLDER / "data")
    number = 0
    while True:
        shutil.rmtree(FOLDER / "data")
        code = fetch(number)
        if code == COMPLETED:
            break
        assert code == DIED, f"point {number}: exit code {code}"
        assert fetch() == COMPLETED, f"point {number}: the next run failed"
        found = without_times(FOLDER / "data")
        assert found == whole, f"point {number}: {set(found[0]) ^ set(whole[0])} {set(found[1]) ^ set(whole[1])}"
        number += 1
    print(number)


main()
