"""Small networks and clouds, and what the official code computed from known weights."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from factories.models import SMALL_PTV3 as SMALL
from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture
from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel, serialize
from sceneleapultra.models.network.encoder.ptv3.network import Encoded, PointTransformerV3

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "ptv3_reference"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the official outputs are not at ../shared/data/ptv3_reference"
)

# What the official code does where it has no flash attention.
OFFICIAL = {"norm": "batch", "patch_rule": "smallest_cloud", "unpool_convolution": "skip"}


def small_network(in_channels: int = 4, **changes) -> PointTransformerV3:
    torch.manual_seed(0)
    return PointTransformerV3(Architecture(**{**SMALL, **changes}), in_channels)


def surface(num_points: int, seed: int = 0, side: int = 64) -> torch.Tensor:
    """Voxels of a wavy sheet, no two alike, in random order."""
    g = torch.Generator().manual_seed(seed)
    xy = torch.randperm(side * side, generator=g)[:num_points]
    x, y = xy // side, xy % side
    z = (8 + 6 * torch.sin(x / 9.0) + 2 * torch.cos(y / 5.0)).long()
    return torch.stack([x, y, z], dim=1)


def level_of(grids: list[torch.Tensor], curves=SMALL["order"], depth: int | None = 8) -> SerializedLevel:
    grid = torch.cat(grids)
    batch = torch.arange(len(grids)).repeat_interleave(torch.tensor([len(g) for g in grids]))
    return serialize(0.01 * grid.float(), grid, batch, num_clouds=len(grids), depth=depth, curves=curves)


def expected_keys(counts: tuple[int, ...], size: int) -> list[set[int]]:
    """By the definition, for each position: the positions it attends to."""
    keys, begin = [], 0
    for n in counts:
        for p in range(n):
            first = 0 if n <= size else min(p // size * size, n - size)
            keys.append(set(range(begin + first, begin + min(first + size, n))))
        begin += n
    return keys


def arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(REFERENCE / name) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def tensors(name: str) -> dict[str, torch.Tensor]:
    """Read a safetensors file: a length, a JSON header, then the numbers."""
    content = (REFERENCE / name).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    kinds = {"F32": np.float32, "I64": np.int64}
    out = {}
    for key, entry in json.loads(content[8:end]).items():
        if key != "__metadata__":
            first, last = entry["data_offsets"]
            flat = np.frombuffer(content[end + first : end + last], kinds[entry["dtype"]]).copy()
            out[key] = torch.from_numpy(flat).reshape(entry["shape"])
    return out


def official_network(name: str, extra: str | None = None, **changes) -> PointTransformerV3:
    """The configuration of a folder of the reference, with its weights loaded strictly."""
    config = json.loads((REFERENCE / name / "config.json").read_text())
    renamed = {"enc_heads": "enc_num_head", "dec_heads": "dec_num_head", "patch_size": "enc_patch_size"}
    known = {f.name for f in fields(Architecture)}
    values = {key: config[renamed.get(key, key)] for key in known if renamed.get(key, key) in config}
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    network = PointTransformerV3(
        Architecture(**{**SMALL, **OFFICIAL, **values, **changes}), config["in_channels"]
    )
    extra_tensors = tensors(f"{name}/{extra}") if extra else {}
    network.load_state_dict(tensors(f"{name}/weights.safetensors") | extra_tensors, strict=True)
    return network.eval()


def official_input(name: str, cloud: int | None = None) -> tuple[SerializedLevel, torch.Tensor]:
    """The input of a folder of the reference, whole or one of its clouds."""
    curves = json.loads((REFERENCE / name / "config.json").read_text())["order"]
    data = arrays(f"{name}/inputs.npz")
    ends = data["offset"]
    batch = torch.arange(len(ends)).repeat_interleave(ends.diff(prepend=torch.tensor([0])))
    if "grid_coord" in data:
        grid = data["grid_coord"]
    else:  # the official rule: truncated from the lowest corner of the whole batch
        grid = ((data["coord"] - data["coord"].amin(0)) / data["grid_size"]).trunc().long()
    chosen = torch.ones_like(batch, dtype=torch.bool) if cloud is None else batch == cloud
    batch, num_clouds = (batch, len(ends)) if cloud is None else (torch.zeros_like(batch), 1)
    level = serialize(
        data["coord"][chosen],
        grid[chosen],
        batch[chosen],
        num_clouds=num_clouds,
        depth=None,
        curves=curves,
    )
    return level, data["feat"][chosen]


def run_recorded(
    network: PointTransformerV3, level: SerializedLevel, features: torch.Tensor
) -> tuple[Encoded, dict]:
    """Run a network and keep what each of its named modules returned."""
    seen: dict[str, object] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, out, name=name: seen.__setitem__(name, out))
        for name, module in network.named_modules()
    ]
    with torch.no_grad():
        encoded = network(level, features)
    for hook in hooks:
        hook.remove()
    return encoded, seen
