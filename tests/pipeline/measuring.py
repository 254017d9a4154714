"""Read every file of a folder in a process that measures itself; print how each ended, and what it took, as JSON."""

import json
import resource
import sys
from pathlib import Path

import xarray as xr

from clipdiy_lab.pipeline.netcdf import read_netcdf
from clipdiy_lab.pipeline.untrusted import UnreadableError
from clipdiy_lab.pipeline.zarr_files import read_zarr

KIB = 1024


def peak(who):
    return resource.getrusage(who).ru_maxrss * KIB


def seconds():
    return sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def main(folder):
    """Read them all."""
    xr.DataTree()
    before, ends, took = peak(resource.RUSAGE_SELF), {}, {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".nc", ".zarr"):
            start = seconds()
            try:
                (read_netcdf if path.suffix == ".nc" else read_zarr)(path)
                ends[path.name] = "opened"
            except (UnreadableError, OSError):
                ends[path.name] = "refused"
            took[path.name] = seconds() - start
    own = peak(resource.RUSAGE_SELF) - before
    return {"ends": ends, "seconds": took, "own": own, "children": peak(resource.RUSAGE_CHILDREN)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
