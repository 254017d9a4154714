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


def own_peak():
    """Bytes; what the system says of a process through `resource` may be its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM"))


def seconds():
    return sum(
        resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def main(folder):
    """Read them all."""
    xr.DataTree()
    before, ends, took = own_peak(), {}, {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".nc", ".zarr"):
            start = seconds()
            try:
                (read_netcdf if path.suffix == ".nc" else read_zarr)(path)
                ends[path.name] = "opened"
            except (UnreadableError, OSError):
                ends[path.name] = "refused"
            took[path.name] = seconds() - start
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
    return {"ends": ends, "seconds": took, "own": own_peak() - before, "children": children}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
