"""A service: what happens between a request and its answer, and how its model is loaded and replaced."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request

from sceneleapultra.hands import Hand
from sceneleapultra.serving.answer import ServedGrasps
from sceneleapultra.serving.backlog import Backlog, DeadlinePassed, Dispatcher, Job
from sceneleapultra.serving.bodies import Bodies, gone
from sceneleapultra.serving.engine import Engine, EngineError
from sceneleapultra.serving.limits import ServiceLimits, WorkLimits
from sceneleapultra.serving.logs import log
from sceneleapultra.serving.metrics import Metrics
from sceneleapultra.serving.page import LastGrasps
from sceneleapultra.serving.problems import Refusal
from sceneleapultra.serving.reading import Work, prepare, read_body
from sceneleapultra.serving.schema import NPZ, ModelCard

_PREPARING = 2  # threads; what they call holds Python's lock most of the time


class Service:
    """Answers requests with one model.

    Args:
        load: loads the model, at the start and again when it is to be replaced.
        work: limits of one request.
        limits: of all of them.
    """

    def __init__(self, load: Callable[[], Engine], work: WorkLimits, limits: ServiceLimits) -> None:
        self._load, self._work, self.limits = load, work, limits
        self.engine = load()
        self.last = LastGrasps()
        self.draining = False
        self._inside = 0
        self._backlog = Backlog()
        self.metrics = Metrics(lambda: len(self._backlog))
        self._dispatcher = Dispatcher(
            lambda: self.engine,
            self._backlog,
            wait_s=limits.batch_wait_s,
            observe=self.metrics.sampled_call,
        )
        self._bodies = Bodies(work, limits)
        self._threads = ThreadPoolExecutor(_PREPARING, "preparing")
        self._reloading = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._running = asyncio.create_task(self._dispatcher.run())

    async def stop(self) -> None:
        """Stop once nobody waits any more."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        self._dispatcher.end()
        self._threads.shutdown(wait=True, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._running is not None and not self._running.done() and not self.draining

    def check_ready(self) -> None:
        """Refuse requests before the start, and when the service is about to end.

        Raises:
            Refusal: it is.
        """
        if not self.ready:
            raise Refusal(503, "The service is about to end. Ask another, or try again.", Retry_After="5")

    async def grasps(self, request: Request, *, kind: str, binary: bool, request_id: str) -> bytes:
        """Answer a request for grasps.

        Args:
            request: with its body.
            kind: media type of the body.
            binary: whether the answer is to be in the binary form.
            request_id: its name in the log.

        Raises:
            Refusal: with the status and the sentence.
            ClientDisconnect: nobody waits for the answer.
        """
        begin = time.monotonic()
        self.check_ready()
        self._check_room()
        loop = asyncio.get_running_loop()
        with ExitStack() as inside:
            with self._bodies.room() as room:
                content = await self._bodies.receive(request, room)
                inside.enter_context(self._admitted())
                reading = loop.run_in_executor(self._threads, self._read, content, kind)
                del content
                try:
                    work = await reading
                except ValueError as error:
                    raise Refusal(422, str(error)) from error
            served = await self._sampled(work, request, begin)
        self.last.add(work.request, served, request_id)
        self.metrics.grasps.inc(len(served.grasps))
        self.metrics.seconds.observe(time.monotonic() - begin)
        return await loop.run_in_executor(self._threads, served.to_npz if binary else served.to_json)

    def _read(self, content: bytes, kind: str) -> Work:
        settings, arrays = read_body(content, kind, self._work)
        engine = self.engine
        return prepare(settings, arrays, engine.model, engine.hand.name)

    async def _sampled(self, work: Work, request: Request, begin: float) -> ServedGrasps:
        """Wait for the grasps, for the deadline or until the client leaves, whatever comes first."""
        within = work.settings.deadline_s or self._work.deadline_s
        job = Job(work, begin + within, asyncio.get_running_loop().create_future())
        self._backlog.put(job)
        leaving = asyncio.create_task(gone(request))
        try:
            left = max(begin + within - time.monotonic(), 0.0)
            both: set[asyncio.Future[Any]] = {job.answer, leaving}
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not job.answer.done() and leaving.done():
                raise ClientDisconnect
            if not job.answer.done():
                raise DeadlinePassed
            self.metrics.waited.observe(job.waited_s)
            return job.answer.result()
        except DeadlinePassed as error:
            raise Refusal(
                503,
                f"No answer within the deadline, {within:g} s. Ask for fewer grasps or steps, or allow more.",
                Retry_After="1",
            ) from error
        except ValueError as error:
            raise Refusal(422, str(error)) from error
        except EngineError as error:
            raise Refusal(503, str(error), Retry_After="1") from error
        finally:
            leaving.cancel()
            job.answer.cancel()

    def _check_room(self) -> None:
        if self._inside >= self.limits.waiting:
            raise Refusal(
                429, f"{self._inside} requests are being answered already. Try again.", Retry_After="1"
            )

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        self._check_room()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def reload(self) -> ModelCard:
        """Load the model's file again, and serve it from then on; the one before serves until then.

        Raises:
            Refusal: it cannot be loaded, or is for another hand; the one before goes on.
        """
        async with self._reloading:
            loop = asyncio.get_running_loop()
            try:
                engine = await loop.run_in_executor(None, self._load)
                now, before = engine.hand.name, self.engine.hand.name
                if now != before:
                    raise ValueError(
                        f"The model is for the hand {now} now, and clients expect {before}. "
                        "Start a service for it."
                    )
            except (ValueError, OSError) as error:
                self.metrics.reloads.labels("refused").inc()
                log("reload refused", reason=str(error))
                raise Refusal(422, f"{error} The model of before is served on.") from error
            self.engine = engine
            self.metrics.reloads.labels("loaded").inc()
            log("reloaded", model=engine.name, weights=engine.weights)
            return self.card()

    def card(self) -> ModelCard:
        """Return what is served."""
        engine, hand = self.engine, self.engine.hand
        return ModelCard(
            version="v1",
            model=engine.name,
            weights=engine.weights,
            loaded=engine.loaded,
            hand=hand.name,
            joint_names=list(hand.joint_names),
            joint_limits=[(low, high) for low, high in hand.joint_limits.tolist()],
            uses_color=engine.model.uses_color,
            device=engine.device,
            limits=vars(self._work),
        )

    async def page(self) -> str:
        """Return the page of the last grasps."""
        engine = self.engine
        title = f"Grasps by {engine.name} for {engine.hand.name}"

        def draw() -> str:
            return self.last.page(title, Hand(engine.hand.description))  # on the processor

        return await asyncio.get_running_loop().run_in_executor(self._threads, draw)


def media_type(request: Request) -> str:
    """Return the media type of a request's body.

    Raises:
        Refusal: none that is read here.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", NPZ):
        raise Refusal(415, f"Content-Type: expected application/json or {NPZ}, got {kind[:80] or 'none'}.")
    return kind
