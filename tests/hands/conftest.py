from pathlib import Path

import pytest
import torch

from sceneleapultra.hands import Hand, load_hand

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FOREIGN = {
    "leap_mjcf": SHARED / "dexgraspbench_reference" / "hand_leap" / "right_hand.xml",
    "allegro_urdf": SHARED / "hands" / "allegro_hand" / "allegro_hand_right.urdf",
}


@pytest.fixture(scope="session")
def leap() -> Hand:
    return load_hand("leap_right")


@pytest.fixture(scope="session")
def leap64() -> Hand:
    return load_hand("leap_right", dtype=torch.float64)


@pytest.fixture(scope="session", params=["leap_right", *FOREIGN])
def any_hand(request: pytest.FixtureRequest) -> Hand:
    if request.param not in FOREIGN:
        return load_hand(request.param, dtype=torch.float64)
    path = FOREIGN[request.param]
    if not path.is_file():
        pytest.skip(f"{path.name} absent")
    return load_hand(path, dtype=torch.float64)


@pytest.fixture(scope="session")
def allegro() -> Hand:
    path = FOREIGN["allegro_urdf"]
    if not path.is_file():
        pytest.skip(f"{path.name} absent")
    return load_hand(path, semantics="allegro_right")


def random_qpos(hand: Hand, n: int, seed: int = 0) -> torch.Tensor:
    """Joint angles, uniform within the limits."""
    generator = torch.Generator().manual_seed(seed)
    low, high = hand.joint_limits.unbind(-1)
    return low + (high - low) * torch.rand(n, hand.num_joints, generator=generator, dtype=low.dtype)


@pytest.fixture(scope="session")
def draw():
    return random_qpos
