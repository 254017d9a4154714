"""The rings of tests: `browser`, `cluster` and `slow` are marked here; `make quick` runs what is none of them.

`slow` is what was measured to be: the tests that `slow.txt` lists, one per line without their parameters.
`pytest --record-slow` writes that file anew from the durations of its run.
"""

from collections import defaultdict
from pathlib import Path

SLOW = Path(__file__).with_name("slow.txt")
SECONDS = 0.35
"""A function whose tests take longer than this together is left out of the quick ring."""


def pytest_addoption(parser):
    parser.addoption("--record-slow", action="store_true", help="write tests/slow.txt from the durations of this run")


def pytest_collection_modifyitems(items):
    slow = set(SLOW.read_text().split()) if SLOW.exists() else set()
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker("browser")
        if item.path.name == "test_cluster.py":
            item.add_marker("cluster")
        if _function(item.nodeid) in slow:
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--record-slow"):
        return
    seconds = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                seconds[_function(report.nodeid)] += report.duration
    # What did not run stays listed, so the quick ring can be recorded again: who shared a slow fixture pays it now.
    unseen = {name for name in SLOW.read_text().split() if name not in seconds} if SLOW.exists() else set()
    slow = sorted(unseen | {name for name, total in seconds.items() if total > SECONDS})
    SLOW.write_text("".join(f"{name}\n" for name in slow))
    terminalreporter.write_line(f"{SLOW}: {len(slow)} functions take more than {SECONDS} s")


def _function(nodeid):
    return nodeid.split("[")[0]
