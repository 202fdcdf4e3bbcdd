"""Tasks on a Ray cluster that runs already: Ray starts the processes, and does again what a lost one had in work."""

from sceneleapultra.utils.core.environment import ROOT

import os
import pickle
import signal
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any, Literal

from sceneleapultra.utils.clusters.code_version import code_version, other_code
from sceneleapultra.utils.clusters.pool import LOST, LOST_SENTENCE
from sceneleapultra.utils.core.parallel import AHEAD, Executor, Result, Submit, Task
from sceneleapultra.utils.core.signals import SIGNALS

_CONNECT_S = 10.0
_KEPT = 2  # functions that a process keeps, with what they keep
_sessions = count()
_functions: OrderedDict[str, Callable[[Any], Any]] = OrderedDict()  # of a worker


class RayExecutor(Executor):
    """Processes of a Ray cluster, one for each of its processors that are asked for.

    Args:
        workers: how many at a time; ``auto`` takes all processors of the cluster, those that join later, too.
        address: of the cluster; ``auto`` is the one on this machine, or what RAY_ADDRESS says.

    Raises:
        ValueError: Ray is not installed, or fewer than one worker.
    """

    def __init__(self, *, workers: int | Literal["auto"], address: str) -> None:
        if find_spec("ray") is None:
            raise ValueError(
                "launcher=ray: Ray is not installed. Install the extra: python -m pip install 'sceneleapultra[ray]', "
                "or leave launcher=ray out."
            )
        if workers != "auto" and workers < 1:
            raise ValueError(f"workers={workers}: expected 'auto', or at least 1 worker of the Ray cluster.")
        self.workers, self.address = workers, address

    @property
    def in_flight(self) -> int:
        """Enough to keep every worker busy."""
        return AHEAD * self._number()

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Give ``fn`` to the cluster; tasks that are not answered when the context ends are given up."""
        self._connect()
        import ray

        name = f"{os.getpid()}-{next(_sessions)}"
        function = ray.put(pickle.dumps(fn))
        # One that crashes its process is blamed after LOST of them.
        remote = ray.remote(num_cpus=1, max_retries=LOST - 1)(_work)
        in_work: set[Any] = set()
        ended = threading.Event()

        def run(task: bytes) -> bytes:
            reference = remote.remote(name, [function], code_version(), task)
            in_work.add(reference)
            if ended.is_set():  # while it was given away: nobody else knows of it
                ray.cancel(reference, force=True)
            try:
                # Fetched as soon as it is there: the loss of its machine costs nothing then.
                return ray.get(reference)  # type: ignore[no-any-return]
            finally:
                in_work.discard(reference)

        # Ray works on all it is given, on every processor that there is: each thread gives one task after the other.
        givers = ThreadPoolExecutor(self.in_flight if self.workers == "auto" else self.workers)

        def submit(task: Task) -> Callable[[], Result]:
            future = givers.submit(run, pickle.dumps(task))

            def wait() -> Result:
                try:
                    done, value = pickle.loads(future.result())
                except ray.exceptions.RayError as error:
                    raise _sentence(error) from error
                if not done:
                    raise value
                return value  # type: ignore[no-any-return]

            return wait

        try:
            yield submit
        finally:
            ended.set()
            givers.shutdown(wait=False, cancel_futures=True)
            for reference in tuple(in_work):
                ray.cancel(reference, force=True)

    def _number(self) -> int:
        if self.workers != "auto":
            return self.workers
        self._connect()
        import ray

        return max(1, int(ray.cluster_resources().get("CPU", 0)))

    def _connect(self) -> None:
        """Connect this program to the cluster; it stays connected until its end.

        Raises:
            ConnectionError: there is no cluster.
        """
        import ray

        if ray.is_initialized():
            return
        address = os.environ.get("RAY_ADDRESS", "auto") if self.address == "auto" else self.address
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            _require_listener(address)  # Ray itself would try for minutes
            ray.init(
                address=address,
                runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
                log_to_driver=False,
                configure_logging=False,
            )
        except (OSError, ray.exceptions.RayError) as error:
            raise ConnectionError(
                f"launcher=ray: no Ray cluster answers at {address}. Start one with: ray start --head, and on "
                "every other machine: ray start --address=<head>:6379; or leave launcher=ray out."
            ) from error
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)


def _require_listener(address: str) -> None:
    """Make sure that somebody listens at an address of the form host:port.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _work(name: str, function: list[Any], version: str, task: bytes) -> bytes:
    """Do one task in a process of Ray's; the function is fetched once by each."""
    import ray

    if version != code_version():
        sentence = other_code(f"The Ray node {socket.gethostname()}", code_version(), version)
        return pickle.dumps((False, ValueError(sentence)))
    if name not in _functions:
        _functions[name] = pickle.loads(ray.get(function[0]))
        if len(_functions) > _KEPT:
            _functions.popitem(last=False)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
    return pickle.dumps((True, _functions[name](pickle.loads(task))))


def _sentence(error: Exception) -> Exception:
    """Return what a task raised, or what became of its worker."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        if isinstance(error.cause, ModuleNotFoundError):
            return ValueError(
                f"A Ray node cannot import the project or a plugin ({error.cause}). Install it on every node, or "
                "put it on a file system that all share, under the same path."
            )
        return error.cause if isinstance(error.cause, Exception) else error
    return ChildProcessError(f"{LOST_SENTENCE} Ray says: {str(error).splitlines()[0]}")
