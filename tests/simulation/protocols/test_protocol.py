from dataclasses import replace

import hydra
import mujoco
import numpy as np
import pytest
from hydra import initialize_config_dir

from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

NAMES = (
    *("dgb-fc", "dgb-fc-quick", "dgb-tabletop", "dexonomy", "dexonomy-hard", "multidex-like"),
    *("force-margin", "scene-lift", "scene-lift-dgn2"),
)


# What version 0.1 gave them, with MuJoCo 3.3.7: stores and results carry these.
HASHES = {
    "dgb-fc": "eafeae7c1477c2d2",
    "dgb-fc-quick": "d3f20b8601d831f4",
    "dgb-tabletop": "ffd71f8d33adbfcc",
}


@pytest.mark.parametrize("name", HASHES)
def test_hashes_are_those_of_existing_stores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco, "__version__", "3.3.7")
    assert get_protocol(name).hash == HASHES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_makes_the_protocol_of_its_name(name: str) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        composed = hydra.compose("test", overrides=[f"protocol={name}"]).protocol
    assert composed == load_group("protocol", name)
    assert build(composed) == get_protocol(name)
    assert get_protocol(name).name == name


def test_every_protocol_has_a_hash_of_its_own() -> None:
    assert len({get_protocol(name).hash for name in NAMES}) == len(NAMES)
    assert {path.stem for path in (CONFIG_DIR / "protocol").glob("*.yaml")} == set(NAMES)


def test_protocols_of_others_push_as_they_do() -> None:
    # 0.1 kg: 0.98 N of weight; and 0.5 m/s^2 for one second.
    np.testing.assert_allclose(np.abs(get_protocol("dexonomy").trial.forces_n).sum(axis=1), 0.98)
    like = get_protocol("multidex-like")
    np.testing.assert_allclose(np.abs(like.trial.forces_n).sum(axis=1), 0.05)
    steps = like.trial.hold_blocks * like.trial.hold_steps_per_block
    assert steps * like.physics.timestep_s == 1.0
    assert like.trial.approach.within_limits(0.019, 180.0) and not like.trial.approach.within_limits(
        0.021, 0.0
    )


def test_unknown_name_is_answered_with_the_nearest() -> None:
    message = r"Unknown protocol 'dgb-fk'\. Did you mean 'dgb-fc'\? Available: .*dgb-tabletop"
    with pytest.raises(ValueError, match=message):
        get_protocol("dgb-fk")


def test_hash_follows_constants_and_mujoco(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = get_protocol("dgb-fc")
    assert replace(protocol, name="other").hash == protocol.hash
    trial = protocol.trial
    for changed in (
        replace(protocol, physics=replace(protocol.physics, friction=(0.6, 0.021))),
        replace(protocol, physics=replace(protocol.physics, hand_solimp=(0.5, 0.99, 0.0002))),
        replace(protocol, contacts=replace(protocol.contacts, touch_distance_m=0.003)),
        replace(protocol, trial=replace(trial, approach=replace(trial.approach, max_angle_deg=15.1))),
        replace(protocol, trial=replace(trial, force_n_per_kg=10.5)),
    ):
        assert changed.hash != protocol.hash
    before = protocol.hash
    monkeypatch.setattr(mujoco, "__version__", "0.0.0")
    assert protocol.hash != before


def test_force_is_a_newton_along_each_axis() -> None:
    # 10 N/kg on 0.1 kg.
    np.testing.assert_allclose(np.abs(get_protocol("dgb-fc").trial.forces_n).sum(axis=1), 1.0)
    np.testing.assert_allclose(get_protocol("dgb-tabletop").trial.weight_n, [0, 0, -1.0])
