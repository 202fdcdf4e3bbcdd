"""How long a service takes to answer, against how often it is asked; and whether its memory stays what it is.

    python -m benchmarks.serving --rates 0.2 0.5 1.0 --seconds 60 --soak-minutes 10
    python -m benchmarks.serving --checkpoint bundles/leap_table --engine onnxruntime

Starts a service of its own. Requests come at random times (Poisson), whether those before are answered or not. They
are the shipped view with other seeds, and numbers of grasps in turn; every answer is compared with the first of its
kind, bit for bit. Then, for --soak-minutes, four of ten clients are bad ones in turn: one sends no cloud, one more than
is allowed, one a byte now and then, one leaves half way. The memory of the service and the machine's load average are
read every ten seconds. What is measured for an engine replaces what benchmarks/results/serving.json held for it.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, command, command_line, commit, machine, table, write
from sceneleapultra.serving.client import GraspClient, ServiceRefusal

SIZES, SEEDS = (4, 8, 16), 4
HEAD = b"POST /v1/grasps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LENGTH, HUGE = b"Content-Length: 100000\r\n\r\n", b"Content-Length: 1000000000\r\n\r\n"
DRIPS, DRIP_S = 8, 5.0  # bytes of a slow client, and how long it waits before each
EVERY_S = 10.0
RESULT = RESULTS / "serving.json"


@dataclass
class Load:
    """Asks a service, and writes down what came back."""

    url: str
    request: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    expected: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def ask(self, number: int) -> None:
        """Send one request and compare its answer with the one before."""
        key = SIZES[number % len(SIZES)], number % SEEDS
        begin = time.monotonic()
        try:
            client = GraspClient(self.url, attempts=1, timeout_s=120.0)
            made = client.grasps(**self.request, num_grasps=key[0], seed=key[1]).grasps.hand_pose
        except ServiceRefusal as refusal:
            self.outcomes[str(refusal.status)] += 1
            return
        self.seconds.append(time.monotonic() - begin)
        same = np.array_equal(made, self.expected.setdefault(key, made))
        self.outcomes["200" if same else "200, other bits"] += 1

    def quantiles(self) -> list[float]:
        """Return within how many seconds half, 95 and 99 of a hundred answers came."""
        found: list[float] = np.percentile(self.seconds or [np.nan], (50, 95, 99)).round(3).tolist()
        return found

    def malform(self, _: int) -> None:
        """Send no cloud at all."""
        try:
            GraspClient(self.url, attempts=1).grasps(points=np.zeros((3, 2)))
        except ServiceRefusal as refusal:
            self.outcomes[f"malformed: {refusal.status}"] += 1

    def drop(self, _: int) -> None:
        """Leave in the middle of a request."""
        with self._connected() as link:
            link.sendall(HEAD + LENGTH + b" " * 50_000)
        self.outcomes["dropped"] += 1

    def flood(self, _: int) -> None:
        """Send more than a request may have."""
        with self._connected() as link, contextlib.suppress(ConnectionError):
            link.sendall(HEAD + HUGE)
            for _ in range(64):  # MiB, twice what a body may have
                link.sendall(b" " * 2**20)
        with self._connected() as link:
            link.sendall(HEAD + HUGE)
            self.outcomes[f"huge: {self._status(link)}"] += 1

    def dawdle(self, _: int) -> None:
        """Send a body byte by byte, and slower than the service waits."""
        with self._connected() as link, contextlib.suppress(ConnectionError):
            link.sendall(HEAD + LENGTH)
            for _ in range(DRIPS):
                time.sleep(DRIP_S)
                link.sendall(b" ")
            self.outcomes[f"slow: {self._status(link)}"] += 1

    def _connected(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=120.0)

    def _status(self, link: socket.socket) -> str:
        words = link.recv(4096).split(b" ", 2)
        return words[1].decode() if len(words) > 1 else "closed"

    def run(self, rate: float, seconds: float, rng: np.random.Generator, *, rude: bool) -> None:
        """Ask at random times, so many times a second on average, and wait for the last answer."""
        threads, end, number = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            bad = (self.malform, self.drop, self.flood, self.dawdle)
            send = bad[number % 4] if rude and rng.random() < 0.4 else self.ask
            threads.append(threading.Thread(target=send, args=(number,)))
            threads[-1].start()
            number += 1
            time.sleep(min(rng.exponential(1.0 / rate), max(end - time.monotonic(), 0.0)))
        for thread in threads:
            thread.join()


def memory_mb(url: str) -> float:
    """Return the resident memory of the service."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        found = re.search(r"^process_resident_memory_bytes (\S+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1]) / 1e6


def measure(url: str, request: dict[str, Any], rates: list[float], seconds: float) -> list[dict[str, Any]]:
    """Return a row for each rate."""
    rows: list[dict[str, Any]] = []
    expected: dict[tuple[int, int], np.ndarray] = {}
    for rate in rates:
        load = Load(url, request, expected=expected)
        load.run(rate, seconds, np.random.default_rng(0), rude=False)
        rows.append({"rate": rate, "outcomes": dict(load.outcomes), "p50_p95_p99_s": load.quantiles()})
        rows[-1] |= {"memory_mb": round(memory_mb(url)), "load_average": round(os.getloadavg()[0], 1)}
    return rows


def soak(url: str, request: dict[str, Any], minutes: float, rate: float) -> dict[str, Any]:
    """Return the memory every ten seconds, and what was answered."""
    load, sizes, ended = Load(url, request), [round(memory_mb(url), 1)], threading.Event()
    averages = [round(os.getloadavg()[0], 1)]

    def watch() -> None:
        while not ended.wait(EVERY_S):
            sizes.append(round(memory_mb(url), 1))
            averages.append(round(os.getloadavg()[0], 1))

    watcher = threading.Thread(target=watch)
    watcher.start()
    load.run(rate, 60.0 * minutes, np.random.default_rng(1), rude=True)
    ended.set()
    watcher.join()
    settled = sizes[len(sizes) // 3 :]
    return {
        "minutes": minutes,
        "rate": rate,
        "outcomes": dict(sorted(load.outcomes.items())),
        "p50_p95_p99_s": load.quantiles(),
        "memory_mb_start": sizes[0],
        "memory_mb_after_a_third": [min(settled), max(settled)],
        "memory_mb_end": sizes[-1],
        "memory_mb_every_10_s": sizes,
        "load_average_every_10_s": averages,
    }


def page(rows: list[dict[str, Any]]) -> str:
    """Return a table of the loads."""
    names = ["requests per second", "answers", "p50, s", "p95, s", "p99, s", "memory, MB"]
    lines = [
        [f"{row['rate']:g}", str(row["outcomes"]), *map(str, row["p50_p95_p99_s"]), str(row["memory_mb"])]
        for row in rows
    ]
    return table(names, lines)


def main() -> None:
    """Measure what the command line names."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument("--engine", default="torch", choices=("torch", "onnxruntime"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rates", type=float, nargs="*", default=[0.2, 0.5, 1.0], help="requests per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument("--soak-rate", type=float, default=0.5, help="requests per second")
    args = parser.parse_args()
    with np.load(ROOT / "model_zoo" / "example_view.npz") as view:
        request = {"depth": view["depth"], "intrinsics": view["K"], "depth_scale": float(view["depth_scale"])}
        request["mask"] = view["mask"]
    serve = [sys.executable, "-m", "sceneleapultra", "serve", args.checkpoint, "--port", "0"]
    serve += ["--engine", args.engine, "--device", args.device]
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {"engines": {}}
    with subprocess.Popen(serve, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as service:
        assert service.stderr is not None
        try:
            url = json.loads(next(line for line in service.stderr if b'"ready"' in line))["url"]
            threading.Thread(target=service.stderr.read, daemon=True).start()
            found: dict[str, Any] = {
                "command": command(),
                "machine": machine(args.device),
                "commit": commit(),
                "load_average_before": round(os.getloadavg()[0], 1),
            }
            document["engines"][args.engine] = found
            if args.rates:
                found["loads"] = measure(url, request, args.rates, args.seconds)
                write(document, RESULT, seed=0, device=args.device)
                print(page(found["loads"]), flush=True)
            if args.soak_minutes:
                found["soak"] = soak(url, request, args.soak_minutes, args.soak_rate)
                write(document, RESULT, seed=0, device=args.device)
                print(json.dumps(found["soak"]))
        finally:
            service.terminate()


if __name__ == "__main__":
    main()
