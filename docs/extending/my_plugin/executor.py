"""An executor: a thread of the calling process."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sceneleapultra.utils.core.parallel import Executor, Result, Submit, Task


class OneThread(Executor):
    """Works in one thread, so that tasks of one function never meet."""

    in_flight = 4  # tasks handed over and not yet answered

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Start the thread; it ends with the context."""
        with ThreadPoolExecutor(1) as pool:
            yield lambda task: pool.submit(fn, task).result
