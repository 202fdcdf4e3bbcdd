import json
from dataclasses import replace

import numpy as np
import pytest

from sceneleapultra.simulation.protocols import HandModel, evaluate_grasps, evaluate_many
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Grasps, ObjectRecord, Outcome, Scene
from sceneleapultra.utils.verdicts import VerdictTable


def repeated(grasps: Grasps, times: int) -> Grasps:
    return Grasps(
        *(np.tile(part, (times, 1)) for part in (grasps.hand_pose, grasps.pregrasp_qpos, grasps.squeeze_qpos))
    )


def assert_equal(a: VerdictTable, b: VerdictTable) -> None:
    assert a.columns == b.columns
    for name, value in a.values.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_workers_do_not_change_verdicts_or_order(
    hand_model: HandModel, cylinder: ObjectRecord, scene: Scene, grasps: Grasps
) -> None:
    other = Scene(
        (replace(cylinder, name="other", pieces=(0.9 * cylinder.pieces[0],)),), scene.T_world_object, False
    )
    none = grasps[:0]
    jobs = [(scene, 0, repeated(grasps, 4)), (other, 0, grasps), (scene, 0, none)]
    done: list[int] = []
    one = evaluate_many(hand_model, jobs, "dgb-fc-quick", LocalExecutor(workers=1))
    two = evaluate_many(hand_model, jobs, "dgb-fc-quick", LocalExecutor(workers=2), progress=done.append)
    assert [len(v) for v in one] == [20, 5, 0]
    assert sum(done) == 25
    for a, b in zip(one, two, strict=True):
        assert_equal(a, b)
    # The same five grasps again and again.
    np.testing.assert_array_equal(one[0]["displacement_m"][:5], one[0]["displacement_m"][15:])
    assert one[0]["stable"][0]
    assert one[0]["outcome"][4] == Outcome.PREGRASP_PENETRATION
    assert set(one[1]["object_name"]) == {"other"}


def test_summary_counts_and_speaks_json(hand_model: HandModel, scene: Scene, grasps: Grasps) -> None:
    table = evaluate_grasps(hand_model, scene, grasps, "dgb-fc-quick", workers=1, stop_at_failure=True)
    outcome = table["outcome"].copy()
    outcome[3] = Outcome.NOT_RUN
    summary = table.with_columns({"outcome": outcome}).summary()
    assert summary == json.loads(json.dumps(summary))
    successes = int(table["stable"].sum())
    assert (summary["num_grasps"], summary["num_not_run"], summary["num_objects"]) == (5, 1, 1)
    assert summary["stable"]["value"] == successes / 4
    assert tuple(summary["stable"]["wilson95"]) == wilson_interval(successes, 4)
    assert summary["outcomes"]["not_run"] == 1
    assert sum(summary["outcomes"].values()) == 5
    assert len(summary["direction_success"]) == 6


def test_verdicts_of_different_protocols_do_not_mix(
    hand_model: HandModel, scene: Scene, grasps: Grasps
) -> None:
    a = evaluate_grasps(hand_model, scene, grasps, "dgb-fc-quick", workers=1)
    joined = VerdictTable.concatenate([a, a])
    assert len(joined) == 10
    assert_equal(joined, VerdictTable.concatenate([joined]))
    with pytest.raises(
        ValueError, match=r"Verdicts of one protocol can be joined, got dgb-fc-quick .*, dgb-fc"
    ):
        VerdictTable.concatenate([a, replace(a, protocol="dgb-fc", protocol_hash="other")])


def test_bad_questions_get_a_sentence(hand_model: HandModel, scene: Scene, grasps: Grasps) -> None:
    with pytest.raises(ValueError, match="Unknown protocol 'fc'"):
        evaluate_grasps(hand_model, scene, grasps, "fc")
    with pytest.raises(ValueError, match="Job 0: target 1 is not an object of its scene, which has 1"):
        evaluate_grasps(hand_model, scene, grasps, target=1)
    with pytest.raises(ValueError, match="at least 0 processes, got -1"):
        evaluate_grasps(hand_model, scene, grasps, workers=-1)
    cut = Grasps(grasps.hand_pose[:, :-1], grasps.pregrasp_qpos, grasps.squeeze_qpos)
    with pytest.raises(ValueError, match=r"hand with 16 joints, shapes \(n, 23\).*Load the hand"):
        evaluate_grasps(hand_model, scene, cut)
