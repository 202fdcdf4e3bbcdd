"""From one prepared cloud to grasps: what ``models/sampling.py`` does with a generator, with its graphs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.models.span import check_span
from sceneleapultra.serving.runtime.keyed import SampleRandom
from sceneleapultra.serving.runtime.sessions import Arrays, GraphSessions
from sceneleapultra.serving.runtime.solvers import Solver
from sceneleapultra.utils.geometry.cloud import PreparedCloud

_WEIGHTS = ("stable", "collision_free")  # of the score head's outputs, in their order


@dataclass(frozen=True)
class Generated:
    """Grasps in the frame of the prepared cloud, in the order in which they were drawn."""

    hand_pose: Float[np.ndarray, "g p"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    log_odds: Float[np.ndarray, "g 2"]
    nfe: int
    trajectory: Float[np.ndarray, "n g p"]  # after every step


class Generation:
    """One call of sampling.

    Args:
        engine: that runs the graphs.
        about: what the bundle says of the generator.
        settings: of sampling.
        seed: of anchors and noise.
    """

    def __init__(
        self, engine: GraphSessions, about: Mapping[str, Any], settings: Mapping[str, Any], seed: int
    ) -> None:
        self.engine, self.about, self.settings = engine, about, settings
        self.rng, self.nfe = SampleRandom(seed), 0
        self.solver = Solver(settings["solver"], about, self._schedule)

    def __call__(self, cloud: PreparedCloud, num_grasps: int) -> Generated:
        """Generate."""
        scene = self._encode(cloud)
        power = self.settings.get("graspness", 0.0)  # not there before there was such a head
        if power > 0.0:
            if "graspness" not in scene:
                raise ValueError(
                    f"sampling.graspness={power:g} needs a model with the head graspness, this one has none. Pass "
                    "sampling.graspness=0."
                )
            scene["anchors"] = scene["anchors"] + np.float32(power) * log_sigmoid(scene["graspness"])
        logits = scene["anchors"]
        scorer = self.settings["guidance"]["scorer"]
        if scorer is not None and scorer["anchors"] > 0.0:
            logits = self._reweighted(scene, scorer)
        logits = logits[0] / np.float32(self.settings["anchor_temperature"])
        index = (logits + self.rng.gumbel(num_grasps, logits.shape[-1])).argmax(-1)[None]
        noise = self.rng.normal(num_grasps, self.about["dim_input"])[None]
        view, states = self.solve(scene, index, noise, np.zeros_like(index))
        visited = [self.engine.run("grasps", {**view, "x0": x}) for x in states]
        log_odds = self.engine.run("score", {**scene, **view, "x0": states[-1]})["log_odds"][0]
        return Generated(
            hand_pose=visited[-1]["hand_pose"][0],
            squeeze_qpos=visited[-1]["squeeze_qpos"][0],
            log_odds=log_odds,
            nfe=self.nfe,
            trajectory=np.concatenate([made["hand_pose"] for made in visited]),
        )

    def _encode(self, cloud: PreparedCloud) -> Arrays:
        inputs = {
            "points": cloud.scene_pc,
            "valid": cloud.point_valid,
            "target": cloud.object_mask & cloud.point_valid,
            "viewpoint": cloud.viewpoint,
            "up": cloud.up,
        }
        if cloud.scene_rgb is not None:
            inputs["rgb"] = cloud.scene_rgb.astype(np.float32) / np.float32(255.0)
        arrays = {name: value[None] for name, value in inputs.items()}
        scene = self.engine.run("encoder", arrays)
        if "span" in scene:
            check_span(scene["span"].tolist(), **self.about["voxels"])
        return {**arrays, **scene}

    def solve(
        self, scene: Arrays, index: np.ndarray, noise: np.ndarray, set_id: np.ndarray
    ) -> tuple[Arrays, list[np.ndarray]]:
        """Return the scene as seen from these anchors, and the states after every step."""
        index = index.astype(np.int64)
        view = {"index": index, "set_id": set_id.astype(np.int64)}
        view |= self.engine.run("anchor", {**scene, **view})

        def denoise(x: np.ndarray, t: float) -> np.ndarray:
            self.nfe += 1
            arrays = {**scene, **view, "x_t": x.astype(np.float32), "t": np.full(len(x), t, dtype=np.float32)}
            return self.engine.run("denoiser", arrays)["x0"]

        return view, list(self.solver.states(denoise, noise, lambda *shape: self.rng.normal(*shape)[None]))

    def _reweighted(self, scene: Arrays, scorer: Mapping[str, Any]) -> np.ndarray:
        """Try a grasp on each token of the target, and lower the logits by the energy of theirs."""
        target = scene["token_target"]
        index = np.argsort(~target, axis=1, kind="stable")[:, : int(target.sum(1).max())]
        noise = np.zeros((*index.shape, self.about["dim_input"]), dtype=np.float32)
        sets = np.broadcast_to(np.arange(index.shape[1]), index.shape)
        view, states = self.solve(scene, index, noise, sets)
        log_odds = self.engine.run("score", {**scene, **view, "x0": states[-1]})["log_odds"]
        weights = np.array([scorer[name] for name in _WEIGHTS], dtype=np.float32)
        energy = -(log_sigmoid(log_odds) * weights).sum(-1)
        logits = scene["anchors"].copy()
        np.add.at(logits, (np.arange(len(index))[:, None], index), np.float32(-scorer["anchors"]) * energy)
        return logits

    def _schedule(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made = self.engine.run("schedule", {"times": times})
        return made["on_grid"], made["alpha"], made["sigma"]


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sigmoid, without overflow."""
    return np.minimum(x, np.float32(0.0)) - np.log1p(np.exp(-np.abs(x)))
