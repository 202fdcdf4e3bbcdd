from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from sceneleapultra.simulation.protocols import Protocol, get_protocol
from sceneleapultra.utils.core.config import load_group

NAMES = ("dgb-fc", "dgb-fc-quick", "dgb-tabletop")


@pytest.mark.parametrize("name", NAMES)
def test_file_lists_every_constant(name: str) -> None:
    assert set(load_group("protocol", name)) - {"_target_"} == {field.name for field in fields(Protocol)}
    assert get_protocol(name).name == name


def test_unknown_name_is_answered_with_the_nearest() -> None:
    message = r"Unknown protocol 'dgb-fk'\. Did you mean 'dgb-fc'\? Available: .*dgb-tabletop"
    with pytest.raises(ValueError, match=message):
        get_protocol("dgb-fk")


def test_hash_follows_constants_and_mujoco(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = get_protocol("dgb-fc")
    assert len({get_protocol(name).hash for name in NAMES}) == 3
    assert replace(protocol, name="other").hash == protocol.hash
    for changed in (
        {"friction": (0.6, 0.021)},
        {"hand_solimp": (0.5, 0.99, 0.0002)},
        {"max_angle_deg": 15.1},
        {"force_n_per_kg": 10.5},
    ):
        assert replace(protocol, **changed).hash != protocol.hash
    before = protocol.hash
    monkeypatch.setattr(mujoco, "__version__", "0.0.0")
    assert protocol.hash != before


def test_force_is_a_newton_along_each_axis() -> None:
    # 10 N/kg on 0.1 kg.
    np.testing.assert_allclose(np.abs(get_protocol("dgb-fc").forces).sum(axis=1), 1.0)
    np.testing.assert_allclose(get_protocol("dgb-tabletop").forces, [[0, 0, -1.0]])
