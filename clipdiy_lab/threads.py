"""How many threads compute, and how they wait. Networks take as many as torch has; everything else takes one.

torch shares every operation among its threads, which wait for each other by spinning unless they are told to sleep
before torch is loaded. Where other processes keep the cores at work, spinning takes the time of the thread that is
waited for. And what surrounds the networks (frame, crops, maps, labels, counts) are hundreds of operations of
microseconds to milliseconds: a second thread gains little there, and each of them waits. The labels of an image took
360 ms with two threads of a busy machine and 2.4 ms with one. The results are the same to the last bit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def sleep_while_waiting() -> None:
    """Let threads sleep where they wait for each other, unless the environment says otherwise (``OMP_WAIT_POLICY``).

    The package does so when it is imported; it has an effect where torch is imported later, and on child processes.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread in this block, and in this thread of Python alone.

    A thread of Python that begins to compute while another one is in such a block begins with one as well.

    Examples
    --------
    >>> import torch
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    import torch  # here, since the package has to say how threads wait before torch is loaded

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
