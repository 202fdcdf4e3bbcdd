"""Grasps judged per second, per object and protocol, in one process: JSON on stdout.

    python -m benchmarks.protocol_throughput > throughput.json

Objects and grasps are those of the reference verdicts that lie beside the project, without the deliberate
failures. ``stop_at_failure`` is how synthesis asks, the other how evaluation asks.
"""

import json
import time
from pathlib import Path

import h5py
import mujoco
import numpy as np
import trimesh

from hands import load_hand
from simulation.protocols import GraspSimulator, get_protocol
from simulation.protocols.model import HandModel, ObjectModel

REFERENCE = Path(__file__).resolve().parents[2] / "shared/data/dexgraspbench_reference"
SECONDS_PER_CASE = 6.0


def main() -> None:
    """Time every object under both protocols."""
    hand = HandModel.from_hand(load_hand("leap_right"))
    # The reference places the frame of its MJCF, in which the palm stands turned by half a turn about x.
    T_base_palm = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.1], [0, 0, 0, 1.0]])
    rows = _read()
    cases = []
    for name in sorted(set(rows["object"])):
        chosen = [i for i in np.flatnonzero(rows["object"] == name) if not rows["kind"][i].startswith("adv_")]
        files = sorted((REFERENCE / "objects" / name / "urdf/meshes").glob("*.obj"))
        pieces = [np.asarray(trimesh.load(file, process=False).vertices) for file in files]
        for protocol in ("dgb-fc", "dgb-fc-quick"):
            for stop_at_failure in (False, True):
                cases.append(
                    {"object": name, "num_pieces": len(pieces), "protocol": protocol}
                    | {"stop_at_failure": stop_at_failure}
                    | _time(hand, T_base_palm, rows, chosen, pieces, protocol, stop_at_failure)
                )
    print(json.dumps({"mujoco": mujoco.__version__, "cases": cases}, indent=1))


def _read() -> dict[str, np.ndarray]:
    with h5py.File(REFERENCE / "reference.h5") as file:
        rows = {
            key: file[key][:]
            for key in ("pregrasp_qpos", "grasp_qpos", "squeeze_qpos", "obj_pose", "obj_scale")
        }
        return rows | {key: file[key].asstr()[:] for key in ("object", "kind")}


def _time(
    hand: HandModel,
    T_base_palm: np.ndarray,
    rows: dict[str, np.ndarray],
    chosen: list[int],
    pieces: list[np.ndarray],
    protocol: str,
    stop_at_failure: bool,
) -> dict[str, float]:
    rules = get_protocol(protocol)
    simulators: dict[float, GraspSimulator] = {}
    wall = cpu = 0.0
    done = successes = 0
    for i in chosen:
        scale = float(rows["obj_scale"][i])
        if scale not in simulators:
            simulators[scale] = GraspSimulator(
                hand, ObjectModel(tuple(scale * piece for piece in pieces), 0.1 / scale**3), rules
            )
        grasp = [
            _on_palm(rows[f"{stage}_qpos"][i], T_base_palm) for stage in ("pregrasp", "grasp", "squeeze")
        ]
        begin, begin_cpu = time.perf_counter(), time.process_time()
        verdict = simulators[scale].run(*grasp, rows["obj_pose"][i], stop_at_failure=stop_at_failure)
        wall += time.perf_counter() - begin
        cpu += time.process_time() - begin_cpu
        done += 1
        successes += verdict.success
        if wall > SECONDS_PER_CASE:
            break
    return {
        "grasps": done,
        "success": round(successes / done, 3),
        "grasps_per_second": round(done / wall, 1),
        "grasps_per_cpu_second": round(done / cpu, 1),
    }


def _on_palm(stage: np.ndarray, T_base_palm: np.ndarray) -> np.ndarray:
    quat, R = np.empty(4), np.empty(9)
    mujoco.mju_quat2Mat(R, stage[3:7] / np.linalg.norm(stage[3:7]))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R.reshape(3, 3), stage[:3]
    T = T @ T_base_palm
    mujoco.mju_mat2Quat(quat, T[:3, :3].ravel())
    return np.concatenate([T[:3, 3], quat, stage[7:]])


if __name__ == "__main__":
    main()
