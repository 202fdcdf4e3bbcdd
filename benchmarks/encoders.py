"""What does each scene encoder cost? Time, memory, parameters and tokens.

``python -m benchmarks.encoders`` measures every encoder of config/model/generator/encoder on clouds of 1000, 4000 and
10000 points, in float32 and bfloat16, beside a PointNet++ as most of the field writes it, and writes a JSON file. On a
CPU each cell has a process of its own, time is the process's on one thread, memory what the resident set grew by; on a
GPU time is the wall's, memory what was allocated.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks.common import RESULTS, ROOT, command_line, machine, write
from benchmarks.reference_pointnet2 import ReferencePointNet2
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.geometry.points import farthest_point_order, gather

REFERENCE = "reference"


def main() -> None:
    """Measure, print a table and write the file."""
    parser = command_line(__doc__)
    names = sorted(p.stem for p in (CONFIG_DIR / "model/generator/encoder").glob("*.yaml"))
    parser.add_argument("--encoders", nargs="+", default=[*names, REFERENCE], choices=[*names, REFERENCE])
    parser.add_argument("--points", nargs="+", type=int, default=[1000, 4000, 10000])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", nargs="+", type=int, default=[96, 128], help="of the reference")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/encoders_<device>.json")
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell is not None:
        name, points, precision, tokens = arguments.cell
        torch.set_num_threads(1)
        print(json.dumps(cell(name, int(points), precision, int(tokens), arguments)))
        return
    cells: list[dict[str, Any]] = []
    result: dict[str, Any] = {"threads": 1, "batch": arguments.batch, "cells": cells}
    stem = "".join(c if c.isalnum() else "_" for c in machine(arguments.device))
    out = arguments.out or RESULTS / f"encoders_{stem}.json"
    head = f"{'encoder':24} {'points':>6} {'precision':9} {'tokens':>6} {'params':>9}"
    print(head + f" {'fwd ms':>9} {'f+b ms':>9} {'fwd MB':>8} {'f+b MB':>8}")
    for name, points, precision, tokens in plan(arguments):
        if arguments.device == "cpu":
            made = cell_apart(name, points, precision, tokens)
        else:
            made = cell(name, points, precision, tokens, arguments)
        cells.append(made)
        print(row(made), flush=True)
        write(result, out, seed=0, device=arguments.device)
    print(out)


def cell_apart(name: str, points: int, precision: str, tokens: int) -> dict[str, Any]:
    """Measure a cell in a process of its own, whose memory nothing else has touched."""
    program = [sys.executable, "-m", "benchmarks.encoders", *sys.argv[1:]]
    command = [*program, "--cell", name, str(points), precision, str(tokens)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}, {points} points, {precision}: {done.stderr}")
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def plan(arguments: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """Yield encoder, points, precision and the reference's tokens of each cell."""
    for name in arguments.encoders:
        for tokens in arguments.tokens if name == REFERENCE else [0]:
            for points in arguments.points:
                for precision in ["fp32"] if name == REFERENCE else arguments.precisions:
                    yield name, points, precision, tokens


def cell(
    name: str, points: int, precision: str, tokens: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measure one encoder on one size of cloud, in this process."""
    head = {"encoder": name, "points": points, "precision": precision}
    cloud = scene(arguments.batch, points, arguments.device)
    model, encode, tokens = encoder(name, points, cloud, tokens, arguments)
    model.train()
    autocast = torch.autocast(arguments.device, torch.bfloat16, enabled=precision == "bf16")

    def forward() -> None:
        with torch.no_grad(), autocast:
            encode()

    def both() -> None:
        with autocast:
            encoded = encode()
        encoded.float().sum().backward()

    try:
        meter = Meter(arguments.device)
        memory = [meter.peak_mb(run) for run in (forward, both)]
    except ValueError as error:
        return {**head, "refused": str(error)}
    times = [meter.ms(run) for run in (forward, both)]
    return head | {
        "tokens": tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "forward_ms": round(times[0], 2),
        "forward_backward_ms": round(times[1], 2),
        "forward_peak_mb": round(memory[0], 1),
        "forward_backward_peak_mb": round(memory[1], 1),
    }


def encoder(
    name: str, points: int, cloud: Cloud, tokens: int, arguments: argparse.Namespace
) -> tuple[torch.nn.Module, Callable[[], torch.Tensor], int]:
    """Build an encoder from its configuration, and a call of it on the cloud."""
    torch.manual_seed(0)
    if name == REFERENCE:
        reference = ReferencePointNet2(tokens).to(arguments.device)
        target = cloud.target.float()[..., None]
        return reference, lambda: reference(cloud.points, target), tokens
    made = untrained_encoder(name, points).to(arguments.device)
    return made, lambda: made(cloud).features, made.num_tokens


def untrained_encoder(name: str, points: int) -> SceneEncoder:
    """Build an encoder of config/model/generator/encoder for clouds of so many points."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "config",
            overrides=[
                f"model/generator/encoder={name}",
                f"data.cloud.num_points={points}",
                "run_dir=unused",
            ],
        )
    made: SceneEncoder = build(cfg.model.generator.encoder)
    return made


def scene(batch: int, points: int, device: str) -> Cloud:
    """Cylinders on a table, in farthest-point order, as the data set serves them."""
    g = torch.Generator().manual_seed(0)
    angle, height = (
        torch.rand(batch, points, generator=g) * 6.3,
        torch.rand(batch, points, generator=g) * 0.12,
    )
    on_object = torch.rand(batch, points, generator=g) < 0.6
    side = torch.stack([0.04 * angle.cos(), 0.04 * angle.sin(), height], dim=-1)
    table = (torch.rand(batch, points, 3, generator=g) - 0.5) * torch.tensor([0.4, 0.4, 0.002])
    cloud = torch.where(on_object[..., None], side, table).to(device)
    order = farthest_point_order(cloud, points)
    return Cloud(
        points=gather(cloud, order),
        valid=torch.ones(batch, points, dtype=torch.bool, device=device),
        target=gather(on_object.to(device), order),
        viewpoint=torch.tensor([0.5, 0.0, 0.5], device=device).expand(batch, 3),
        up=torch.tensor([0.0, 0.0, 1.0], device=device).expand(batch, 3),
    )


class Meter:
    """Time and memory of a call, on this process or on the GPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device != "cpu"
        self.resident = 0.0 if self.cuda else status_mb("VmRSS")

    def peak_mb(self, run: Callable[[], None]) -> float:
        """Return what a call needs beyond what was there before it (on a GPU) or when the meter was made (on a CPU)."""
        if self.cuda:
            run()  # libraries take their workspace once
            held = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            run()
            return (torch.cuda.max_memory_allocated() - held) / 2**20
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts anew
        run()
        return status_mb("VmHWM") - self.resident

    def ms(self, run: Callable[[], None]) -> float:
        """Return the median time of repeated calls, of about a second together at most."""
        spent: list[float] = []
        while not spent or (sum(spent) < 0.7 and len(spent) < 25):
            begun = self.now()
            run()
            spent.append(self.now() - begun)
        return 1000 * sorted(spent)[len(spent) // 2]

    def now(self) -> float:
        """Seconds: of the process on a CPU, of the wall after the GPU has finished."""
        if self.cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


def status_mb(key: str) -> float:
    """Read a line of the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(f"/proc/self/status has no line '{key}'; the benchmark measures memory on Linux.")


def row(made: dict[str, Any]) -> str:
    """Format a cell as a line of the table."""
    head = f"{made['encoder']:24} {made['points']:6} {made['precision']:9} "
    if "refused" in made:
        return head + made["refused"]
    return head + (
        f"{made['tokens']:6} {made['parameters']:9} {made['forward_ms']:9.1f} {made['forward_backward_ms']:9.1f} "
        f"{made['forward_peak_mb']:8.0f} {made['forward_backward_peak_mb']:8.0f}"
    )


if __name__ == "__main__":
    main()
