"""How a program ends when a signal asks it to: in order at the first, at once at the second."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

# What asks a program to end: schedulers, Ctrl-C, a terminal that closes, the warning of a pre-emption or a time limit.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_BLOCKED_S = 1.0  # in which Python would have answered a signal, were it not waiting in a library
_ECHO_S = 1.0  # a launcher and a terminal may send the same wish twice


class Stopped(SystemExit):
    """A signal ended the program.

    The exit status is 128 and the signal's number, as shells have it: 143 for SIGTERM, 130 for SIGINT, 138 for SIGUSR1.

    Attributes:
        signal: which one.
        where: how far the work was, and how it goes on.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signal = signal.Signals(signum)
        self.where: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, ["stopped by", self.signal.name, self.where]))


class _Wish:
    """What this process was asked for; signal handlers belong to a process, so there is one."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.held = False
        self.late: int | None = None  # a signal that came while they were held
        self.since = 0.0
        self.deferred = False
        self.raised = False
        self.closing = False

    def on_signal(self, signum: int, _: FrameType | None) -> None:
        if self.closing:
            return
        if self.held:
            self.late = signum
            return
        if self.signal is None:
            self.signal, self.since = signal.Signals(signum), time.monotonic()
            if not self.deferred:
                self.raised = True
                raise Stopped(signum)
            line = f"\n{self.signal.name}: stopping after this step; a second signal stops at once\n"
            os.write(2, line.encode())  # print may have been interrupted in the middle
        elif time.monotonic() - self.since > _ECHO_S:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


_wish = _Wish()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Answer signals that ask the program to end by :class:`Stopped`; one that is ignored (nohup) stays so.

    Handlers are set in the main thread only, and those of before are restored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _wish.__init__()  # type: ignore[misc]
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):  # None: set by something that is not Python
            signal.signal(number, _wish.on_signal)
    try:
        with ExitStack() as stack:
            stack.push(_raise_consequence)
            yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _raise_consequence(_: object, error: BaseException | None, __: object) -> None:
    if error is not None:
        check_consequence(error)


def wished() -> signal.Signals | None:
    """Return the signal that asked this process to end, if one has."""
    return _wish.signal


def check() -> None:
    """End where a signal has asked for it and nothing defers it.

    Raises:
        Stopped: one has.
    """
    if _wish.signal is not None and not _wish.deferred:
        raise Stopped(_wish.signal)


def check_consequence(error: BaseException) -> None:
    """Look whether an error came up on the way of a :class:`Stopped`, raised in the middle of anything.

    Raises:
        Stopped: it did; the error is none of the user's.
    """
    if _wish.raised and _wish.signal is not None and not isinstance(error, Stopped):
        raise Stopped(_wish.signal) from error


@contextmanager
def deferred(wait: bool = True) -> Iterator[None]:
    """Only note a signal: :func:`wished` says so.

    Args:
        wait: False answers signals at once again, inside a context that defers them.
    """
    before, _wish.deferred = _wish.deferred, wait
    try:
        check()
        yield
    finally:
        _wish.deferred = before


@contextmanager
def held() -> Iterator[None]:
    """Keep signals back while workers are forked: Python drops what is raised in what libraries run around a fork.

    Workers begin with them blocked, and answer them by :func:`~sceneleapultra.utils.core.parallel.follow_parent`.
    """
    if not hasattr(signal, "pthread_sigmask"):  # nothing forks there
        yield
        return
    _wish.held = True  # another thread may take a signal; Python handles it in this one all the same
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _wish.held, late, _wish.late = False, _wish.late, None
        if late is not None:
            signal.raise_signal(late)


@contextmanager
def answered_in_libraries(say: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Answer a signal even while a library waits, in which Python answers none: for others that may never come.

    Nothing in here may be worth more than an end at once.

    Args:
        say: tells the user, in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) != 0:
            if number in SIGNALS and not left.wait(_BLOCKED_S):
                say(signal.Signals(number))
                os._exit(128 + number)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)


def ignore_from_now_on() -> None:
    """Let nothing interrupt the last steps: launchers send SIGTERM to those who are still closing their files."""
    _wish.closing = True


def ignore_for_good() -> None:
    """Let nothing interrupt the end of the interpreter, where the last steps were not to be interrupted."""
    for number in SIGNALS if _wish.closing else ():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def says_where(describe: Callable[[], str], command: str = "the same command") -> Iterator[None]:
    """Add to a :class:`Stopped` that passes how far the work was, and which command continues it from there."""
    try:
        yield
    except Stopped as stop:
        stop.where = stop.where or f"{describe()}; {command} continues"
        raise
