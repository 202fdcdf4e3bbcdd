"""How long a service takes to answer, against how often it is asked; and whether its memory stays what it is.

    python -m benchmarks.serving --rates 0.2 0.5 1.0 --seconds 30
    python -m benchmarks.serving --soak-minutes 10

Starts a service of its own. Requests come at random times (Poisson), whether those before are answered or not. They
are the shipped view with other seeds, and numbers of grasps in turn; every answer is compared with the first of its
kind, bit for bit. Prints a table; with a soak, the memory of the service minute by minute, while a tenth of requests
is malformed and a tenth dropped half way.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, command_line, table, write
from sceneleapultra.serving.client import GraspClient, ServiceRefusal

SIZES, SEEDS = (4, 8, 16), 4


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

    def malform(self, _: int) -> None:
        """Send no cloud at all."""
        try:
            GraspClient(self.url, attempts=1).grasps(points=np.zeros((3, 2)))
        except ServiceRefusal as refusal:
            self.outcomes[str(refusal.status)] += 1

    def drop(self, _: int) -> None:
        """Leave in the middle of a request."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as link:
            link.sendall(b"POST /v1/grasps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            link.sendall(b"Content-Length: 100000\r\n\r\n" + b" " * 50_000)
        self.outcomes["dropped"] += 1

    def run(self, rate: float, seconds: float, rng: np.random.Generator, *, rude: bool) -> None:
        """Ask at random times, so many times a second on average, and wait for the last answer."""
        threads, end, number = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            kind = rng.random() if rude else 1.0
            send = self.malform if kind < 0.1 else self.drop if kind < 0.2 else self.ask
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
        quantiles = np.percentile(load.seconds, (50, 95, 99)).round(3).tolist() if load.seconds else []
        rows.append({"rate": rate, "outcomes": dict(load.outcomes), "p50_p95_p99_s": quantiles})
        rows[-1]["memory_mb"] = round(memory_mb(url))
    return rows


def soak(url: str, request: dict[str, Any], minutes: int, rate: float) -> dict[str, Any]:
    """Return the memory after each minute, and what was answered."""
    load, rng, sizes = Load(url, request), np.random.default_rng(1), [round(memory_mb(url))]
    for _ in range(minutes):
        load.run(rate, 60.0, rng, rude=True)
        sizes.append(round(memory_mb(url)))
    return {"minutes": minutes, "rate": rate, "memory_mb": sizes, "outcomes": dict(load.outcomes)}


def main() -> None:
    """Measure what the command line names."""
    parser = command_line(__doc__)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.5, 1.0], help="requests per second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each rate")
    parser.add_argument("--soak-minutes", type=int, default=0)
    parser.add_argument("--soak-rate", type=float, default=0.5, help="requests per second")
    parser.add_argument("--output", type=Path, help="JSON")
    args = parser.parse_args()
    with np.load(ROOT / "model_zoo" / "example_view.npz") as view:
        request = {"depth": view["depth"], "intrinsics": view["K"], "depth_scale": float(view["depth_scale"])}
        request["mask"] = view["mask"]
    command = [sys.executable, "-m", "sceneleapultra", "serve", args.checkpoint, "--port", "0"]
    with subprocess.Popen(
        [*command, "--device", args.device], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as service:
        assert service.stderr is not None
        try:
            url = json.loads(next(line for line in service.stderr if b'"ready"' in line))["url"]
            threading.Thread(target=service.stderr.read, daemon=True).start()
            document: dict[str, Any] = {"loads": [], "soak": None}
            if args.soak_minutes:
                document["soak"] = soak(url, request, args.soak_minutes, args.soak_rate)
                print(json.dumps(document["soak"]))
            else:
                document["loads"] = measure(url, request, args.rates, args.seconds)
                names = ["requests per second", "answers", "p50, s", "p95, s", "p99, s", "memory, MB"]
                rows = [
                    [
                        f"{row['rate']:g}",
                        str(row["outcomes"]),
                        *map(str, row["p50_p95_p99_s"]),
                        str(row["memory_mb"]),
                    ]
                    for row in document["loads"]
                ]
                print(table(names, rows))
            write(document, args.output, seed=0, device=args.device)
        finally:
            service.terminate()


if __name__ == "__main__":
    main()
