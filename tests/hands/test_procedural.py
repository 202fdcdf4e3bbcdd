"""Are drawn hands hands: the same for a seed, of different builds, with fingers that close upon their thumb?"""

import mujoco
import pytest
import torch
from hydra import compose, initialize_config_dir

from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.hands.procedural import draw_hand
from sceneleapultra.hands.rows import HandRows
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.hand_files import name_hand_files

SEEDS = range(8)


def test_a_seed_is_a_hand_and_seeds_differ_in_build() -> None:
    drawn = [draw_hand(seed) for seed in SEEDS]
    assert [draw_hand(seed) for seed in SEEDS] == drawn
    assert len({hand.table_hash() for hand in drawn}) == len(drawn)
    assert {len(hand.semantics.fingers) for hand in drawn} == {3, 4, 5}
    assert len({len(hand.joints) for hand in drawn}) > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_it_says_all_of_itself_rests_clear_of_itself_and_closes_on_its_thumb(seed: int) -> None:
    hand = load_hand(f"procedural_{seed}")
    rows = HandRows(hand)
    assert len(rows.joint) == hand.num_joints and torch.isfinite(rows.point).all()
    low, high = hand.joint_limits.unbind(-1)
    assert ((low < hand.rest_qpos) & (hand.rest_qpos < high)).all()
    rest = GraspPose(torch.zeros(3), torch.eye(3), hand.rest_qpos)

    def gap(qpos: torch.Tensor) -> float:
        """Return the distance from the thumb's pad to the nearest other one."""
        points, _ = hand.contact_candidates(GraspPose(rest.translation, rest.rotation, qpos))
        thumb = hand.contact_finger == hand.finger_names.index(hand.thumb)
        return float(torch.cdist(points[thumb], points[~thumb]).min())

    closings = [gap((hand.rest_qpos + x * hand.closing).clamp(low, high)) for x in torch.linspace(0, 1.2, 7)]
    assert closings[0] > 0.05 and min(closings) < 0.5 * closings[0]
    assert mujoco.MjModel.from_xml_string(hand.to_mjcf()).nu == hand.num_joints


def test_it_is_named_like_any_other_hand() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        words = name_hand_files(["hand=procedural_3", "scenes=2", "path=x.h5"], "generate")
        assert compose("generate", words).hand.name == "procedural_3"
    assert load_hand("procedural_3", dtype=torch.float64).rest_qpos.dtype is torch.float64
    with pytest.raises(ValueError, match="procedural_x"):
        load_hand("procedural_x")
