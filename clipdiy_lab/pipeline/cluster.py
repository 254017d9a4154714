"""More than one machine: connect to a dask cluster, send it a job, and hand its tasks out.

Workers write their results to files that every machine sees; only a short status returns to the client. So
a worker that is lost costs time only: dask gives its task to another one, which does it again or finds it done.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import importlib
import importlib.metadata
import itertools
import logging
import os
import pickle
import socket
import sys
import threading
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clipdiy_lab.datasets.capabilities import HasFiles
from clipdiy_lab.datasets.sample import Dataset
from clipdiy_lab.errors import ClipdiyError, ClipdiyWarning, ClusterError, ConfigError
from clipdiy_lab.pipeline import provenance

if TYPE_CHECKING:
    from distributed import Client

ANSWER_SECONDS = 10.0
"""How long a scheduler may take to answer."""
IN_FLIGHT = 1000
"""Tasks that the scheduler knows of at once; the client's memory does not grow with their number."""
GPU = "GPU"
"""Resource of which a task takes one, where a scheduler's workers offer it."""
_KEPT_JOBS = 2  # a sweep's pass and the one before
# A terminal sends Ctrl-C to every process. The client ends its workers, which need not say then that they were at work.
_DEAF = (
    "import logging, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "logging.getLogger('distributed.worker.state_machine').setLevel(logging.ERROR)"
)
_SHARED = "put it where every machine sees it under the same path"

Work = Callable[[Any], Any]
Note = tuple[type[Warning], str]
"""Category and text of a warning."""


class Job(Protocol):
    """What is sent to the workers, once per job: `open` builds there what does a task."""

    def open(self) -> Work:
        """Load models and open data; what it returns is called with one task after the other."""
        ...


@contextlib.contextmanager
def connect(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """Connect to a dask cluster: a running one, or a temporary one on this machine.

    Parameters
    ----------
    scheduler : str, optional
        Address of a scheduler, such as "tcp://10.0.0.5:8786".
    workers : int, optional
        Instead of `scheduler`: number of processes to start on this machine, which share its cores. They listen only on
        the loopback interface and use TLS with a temporary certificate known only to these processes, so that other
        users of the machine cannot send them tasks.

    Yields
    ------
    distributed.Client
        Pass it as `client` to `embed`, `evaluate` or `sweep`. A script must call this function under
        ``if __name__ == "__main__":``, because the worker processes import the script.

    Raises
    ------
    ConfigError
        If neither or both are given, or the number of workers is not positive.
    ClusterError
        If dask.distributed is not installed, the scheduler does not answer, or it or a worker has other versions.
    """
    if (scheduler is None) == (workers is None):
        raise ConfigError("give either the address of a scheduler or a number of workers on this machine.")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigError(f"workers is {workers!r}; expected a positive number of processes.")
    distributed = _distributed()
    dask_log = logging.getLogger("distributed")
    with contextlib.ExitStack() as stack:
        stack.callback(dask_log.setLevel, dask_log.level)
        loop_log = logging.getLogger("tornado.application")
        loop_log.addFilter(_is_news)
        stack.callback(loop_log.removeFilter, _is_news)
        place = scheduler if workers is None else stack.enter_context(_local(distributed, workers))
        try:
            if scheduler is not None:
                _ask(distributed, scheduler)
            client = stack.enter_context(distributed.Client(place, timeout=ANSWER_SECONDS, set_as_default=False))
        except Exception as error:  # whatever an address, a network or a foreign server makes it stumble over
            said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise ClusterError(
                f"The scheduler {scheduler!r} did not answer within {ANSWER_SECONDS:g} seconds ({said}); check "
                "the address, such as tcp://HOST:8786, and that `dask scheduler` runs there in the same version."
            ) from error
        check_versions(client)
        try:
            yield client
        except KeyboardInterrupt:
            dask_log.setLevel(logging.CRITICAL)  # that workers are at their tasks when they are closed is no news
            raise


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of dask's event loop says more than that a Ctrl-C came before a call had begun."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NameError) and error.name == "future")


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ClusterError(
            'More than one process needs dask.distributed, which is not installed: pip install "clipdiy-lab[scale]".'
        ) from error


def _ask(distributed: Any, address: str) -> None:
    """Connect once and wait for the greeting: dask's client waits for it without end."""

    async def ask() -> None:
        options = distributed.Security().get_connection_args("client")
        comm = await asyncio.wait_for(distributed.comm.connect(address, **options), ANSWER_SECONDS)
        await comm.close()

    with ThreadPoolExecutor(1) as apart:  # a notebook's own thread has a loop that runs already
        apart.submit(asyncio.run, ask()).result()


def _local(distributed: Any, workers: int) -> Any:
    import dask

    try:
        # Every user of this machine reaches a port of its loopback interface; only who has the key is heard.
        security = distributed.Security.temporary()
    except ImportError as error:
        raise ClusterError(
            'Local worker processes communicate over TLS, which needs cryptography: pip install "clipdiy-lab[scale]".'
        ) from error
    threads = max(1, (os.cpu_count() or 1) // workers)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # Each process has one task at a time, which computes with its share of the cores; the environment has precedence.
    settings: dict[str, Any] = {f"distributed.nanny.pre-spawn-environ.{name}": threads for name in names}
    # Every process has a server of pages too, which asks nobody for a key: it gets no pages.
    settings |= {f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker", "nanny")}
    settings["distributed.worker.preload"] = [*dask.config.get("distributed.worker.preload"), _DEAF]
    with dask.config.set(settings):
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=security,
            dashboard_address="127.0.0.1:0",  # port 0: any that is free
            scheduler_kwargs={"dashboard": False},
            # A copy of its own: a worker that takes a dead one's place starts when these settings hold no more here.
            config=copy.deepcopy(dask.config.config),
        )


def check_versions(client: Client) -> None:
    """Refuse a scheduler or workers of other versions than this process has.

    Workers that join later compare for themselves when they get their first task.

    Raises
    ------
    ClusterError
        Naming both versions.
    """
    found: Any = client.get_versions()
    here = versions()
    _compare(here, _reported(found["scheduler"]), "The scheduler")
    for address, said in found["workers"].items():
        if isinstance(said, dict):  # a worker that has just left sends nothing
            _compare(here, _reported(said), f"The worker {address}")


def versions() -> dict[str, str]:
    """Versions that have to agree for numbers to be equal and for messages to be understood."""
    return {
        **provenance.versions(),
        "python": "{}.{}".format(*sys.version_info),
        "dask": importlib.metadata.version("dask"),
        "distributed": importlib.metadata.version("distributed"),
    }


def _reported(said: Any) -> dict[str, str]:
    packages = said["packages"]
    return {
        "python": ".".join(packages["python"].split(".")[:2]),
        "dask": packages["dask"],
        "distributed": packages["distributed"],
    }


def _compare(here: dict[str, str], there: dict[str, str], who: str) -> None:
    differs = [name for name, version in there.items() if here.get(name) != version]
    if differs:
        told = "; ".join(f"{name} {there[name]} there, {here.get(name)} here" for name in differs)
        raise ClusterError(f"{who} has other versions: {told}. Install the same versions on every machine.")


def run(client: Client, job: Job, tasks: Iterable[Any]) -> Generator[tuple[Any, Any], None, None]:
    """Let the workers do tasks, in any order; none is done twice at once unless a worker seems to be lost.

    Parameters
    ----------
    client : distributed.Client
    job : Job
        Sent to each worker once.
    tasks : iterable
        Small picklable values, taken as they can be handed out.

    Yields
    ------
    task, result
        As they are finished. When the caller stops, tasks that have not begun are given up.

    Raises
    ------
    ClusterError
        If the job cannot be sent, versions differ, or a task has lost several workers.
    ClipdiyError
        Whatever a task raises; the message names the worker's host.

    Warns
    -----
    ClipdiyWarning
        Whatever tasks warn of; each sentence once.
    """
    distributed = _distributed()
    check_versions(client)
    offered = [one.get("resources", {}) for one in client.scheduler_info()["workers"].values()]
    resources = {GPU: 1} if any(GPU in one for one in offered) else None
    name = f"clipdiy-{uuid.uuid4().hex}"
    # A task of its own and no data: should the worker that holds it be lost, the scheduler makes it again.
    sent = client.submit(bytes, _packed(job), key=f"{name}-job", pure=False)
    waiting, numbers = iter(tasks), itertools.count()
    warned: set[str] = set()
    flying: dict[Any, Any] = {}
    finished = distributed.as_completed(loop=client.loop)

    def hand_out(most: int) -> None:
        for task in itertools.islice(waiting, most):
            future = client.submit(
                _do, sent, task, key=f"{name}-{next(numbers)}", pure=False, resources=resources, retries=0
            )
            flying[future] = task
            finished.add(future)

    try:
        hand_out(IN_FLIGHT)
        for future in finished:
            task = flying.pop(future)
            result, notes = _result(distributed, future, task)
            for category, text in notes:
                if text not in warned:
                    warned.add(text)
                    warnings.warn(text, category, stacklevel=2)
            yield task, result
            hand_out(1)
    finally:
        if flying:
            client.cancel(list(flying))  # type: ignore[no-untyped-call]


def _result(distributed: Any, future: Any, task: Any) -> Any:
    try:
        return future.result()
    except ClipdiyError:
        raise
    except distributed.KilledWorker as error:
        raise ClusterError(
            f"The task {task} failed because {error.allowed_failures + 1} workers died one after the other; the last "
            "was "
            f"{error.last_worker.address}. Check its log (out of memory?), then run again: finished work is kept."
        ) from error
    except Exception as error:  # of dask itself, or a defect of the lab or of an object of one's own
        raise ClusterError(
            f"The task {task} failed on its worker ({type(error).__name__}: {error}). Every worker needs the same "
            "clipdiy-lab version; fix the problem and run again: finished work is kept."
        ) from error


def _packed(job: Job) -> bytes:
    import cloudpickle

    try:
        content = cloudpickle.dumps(job)
    except Exception as error:  # objects say in all sorts of ways that they cannot be pickled
        raise ClusterError(
            f"The job cannot be sent to workers ({type(error).__name__}: {error}). Name the model and open the dataset "
            "by name, or make sure that your own encoder, saliency source and dataset can be pickled."
        ) from error
    return pickle.dumps((versions(), content))


_opened: OrderedDict[str, Work] = OrderedDict()
_alone = threading.Lock()  # a worker with several threads still has one model, and one task at a time


def _do(sent: bytes, task: Any) -> tuple[Any, list[Note]]:
    """Do a task, on a worker; the lab's own errors say on which host, its warnings go to the client."""
    with _alone, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClipdiyWarning)
        try:
            result = _open(sent)(task)
        except ClipdiyError as error:
            raise type(error)(f"On the worker {socket.gethostname()}: {error}") from error
    for other in caught:
        if not issubclass(other.category, ClipdiyWarning):
            warnings.showwarning(other.message, other.category, other.filename, other.lineno)
    return result, [(one.category, str(one.message)) for one in caught if issubclass(one.category, ClipdiyWarning)]


def _open(sent: bytes) -> Work:
    name = hashlib.sha256(sent).hexdigest()
    work = _opened.pop(name, None)
    if work is None:
        theirs, content = pickle.loads(sent)  # noqa: S301 - a dask worker runs what its client sends, by design
        _compare(theirs, versions(), "it")
        try:
            job: Job = pickle.loads(content)  # noqa: S301
        except Exception as error:
            raise ClusterError(
                f"the job cannot be unpickled there ({type(error).__name__}: {error}); install the package that "
                "defines "
                "your own encoder, saliency source or dataset."
            ) from error
        work = job.open()
    _opened[name] = work
    while len(_opened) > _KEPT_JOBS:
        _opened.popitem(last=False)
    return work


def require_files(dataset: Dataset, index: int) -> None:
    """Refuse, on a worker, a dataset whose files lie elsewhere; of one that is not made of files nothing is known.

    Raises
    ------
    ClusterError
        Naming the file that is not there.
    """
    for path in dataset.files(index) if isinstance(dataset, HasFiles) else ():
        require_path(path)


def require_path(path: Path) -> None:
    """Refuse, on a worker, a path that it does not see.

    Raises
    ------
    ClusterError
        Naming it.
    """
    if not path.exists():
        raise ClusterError(
            f"it cannot see {str(path)!r}, which the client can; {_SHARED}, and start the workers there."
        )
