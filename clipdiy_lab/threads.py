"""How many threads compute. Networks take as many as torch has; everything else takes one.

torch shares every operation among its threads and lets them wait for each other by spinning. What surrounds the
networks (frame, crops, maps, labels, counts) are hundreds of operations of microseconds to milliseconds: a second
thread gains little there, and where other processes keep the cores at work every operation waits for a thread that is
not running: 360 ms instead of 2.4 ms for the labels of an image (docs/speed.md). The results are the same to the last
bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread in this block, and in this thread of Python alone.

    A thread of Python that begins to compute while another one is in such a block begins with one as well.

    Examples
    --------
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
