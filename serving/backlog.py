"""Requests that wait to be sampled: the most urgent first, nobody's wish computed in vain."""

import asyncio
import heapq
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from sceneleapultra.serving.answer import ServedGrasps
from sceneleapultra.serving.reading import Work

PRIORITIES = {"high": 0, "normal": 1, "low": 2}


class DeadlinePassed(TimeoutError):
    """A request waited for longer than somebody wanted its answer."""


class Sampler(Protocol):
    """What answers requests, see :class:`~sceneleapultra.serving.engine.Engine`."""

    batch: int

    def answer(self, works: list[Work]) -> list[ServedGrasps | Exception]:
        """Return an answer, or why there is none, for each."""


@dataclass(eq=False)
class Job:
    """A request that waits; once its answer is cancelled, nobody waits for it."""

    work: Work
    deadline: float  # of time.monotonic()
    answer: asyncio.Future[ServedGrasps]
    waited_s: float = 0.0
    since: float = field(default_factory=time.monotonic)

    @property
    def wanted(self) -> bool:
        """Whether it is still to be sampled; one that is too late is answered so."""
        if self.answer.done():
            return False
        if time.monotonic() < self.deadline:
            return True
        self.answer.set_exception(DeadlinePassed("it waited longer than its deadline"))
        return False


class Backlog:
    """The queue before a model, of one event loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Job]] = []
        self._count = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, job: Job) -> None:
        """Let a job wait behind those of its priority."""
        self._count += 1
        heapq.heappush(self._heap, (PRIORITIES[job.work.settings.priority], self._count, job))
        self._filled.set()

    async def take(self, most: int, wait_s: float) -> list[Job]:
        """Wait for a job; return it with others of its key, the most urgent first.

        Args:
            most: how many.
            wait_s: for others to come, where more than one is taken.
        """
        while True:
            self._drop()
            if self._heap:
                break
            self._filled.clear()
            await self._filled.wait()
        if most > 1 and len(self._heap) < most:
            await asyncio.sleep(wait_s)
            self._drop()
        waiting = sorted(self._heap)
        key = waiting[0][2].work.key if waiting else None
        taken = [entry for entry in waiting if entry[2].work.key == key][:most]
        self._heap = [entry for entry in waiting if entry not in taken]  # sorted, so a heap
        jobs = [job for *_, job in taken]
        for job in jobs:
            job.waited_s = time.monotonic() - job.since
        return jobs

    def _drop(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].wanted]
        heapq.heapify(self._heap)


class Dispatcher:
    """Hands waiting requests to a model, one call at a time.

    Args:
        sampler: returns the model that answers now.
        backlog: what waits.
        wait_s: see :meth:`Backlog.take`.
        observe: is called with the number of requests of each call and its seconds.
    """

    def __init__(
        self,
        sampler: Callable[[], Sampler],
        backlog: Backlog,
        *,
        wait_s: float,
        observe: Callable[[int, float], None],
    ) -> None:
        self._sampler, self._backlog, self._wait_s, self._observe = sampler, backlog, wait_s, observe
        self._thread = ThreadPoolExecutor(1, "sampling")

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            jobs = await self._backlog.take(self._sampler().batch, self._wait_s)
            if jobs:
                await self._answer(self._sampler(), jobs)

    async def _answer(self, sampler: Sampler, jobs: list[Job]) -> None:
        begin = time.monotonic()
        works = [job.work for job in jobs]
        call = asyncio.get_running_loop().run_in_executor(self._thread, sampler.answer, works)
        await asyncio.wait([call])
        self._observe(len(jobs), time.monotonic() - begin)
        failure = call.exception()
        found = [failure] * len(jobs) if failure is not None else call.result()
        for job, one in zip(jobs, found, strict=True):
            if job.answer.done():
                continue
            if isinstance(one, BaseException):
                job.answer.set_exception(one)
            elif one is not None:
                job.answer.set_result(one)

    def end(self) -> None:
        """Let the model's thread end after what it does."""
        self._thread.shutdown(wait=True, cancel_futures=True)
