"""Every setting of sampling in one place: it travels in the checkpoint and can be changed by name anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sceneleapultra.models.diffusion.solvers import Solver
from sceneleapultra.models.guidance.guide import Guidance
from sceneleapultra.models.ranking import Rank
from sceneleapultra.models.sampling_changes import check_sampling_changes
from sceneleapultra.utils.core.config import build, load_group


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How grasps are sampled, as ``config/sampling`` names it.

    Attributes:
        solver: how noise becomes states, with its steps and temperature.
        guidance: what steers it.
        rank: what the grasps are ordered by.
        anchor_temperature: flattens (> 1) or sharpens (< 1) the choice of anchors.
        graspness: power of the predicted chance of success at a point in the choice of anchors; 0 without that head.
        pregrasp_opening: how far the flexion joints open from grasp to pre-grasp (rad); the pre-grasp is this rule.
        squeeze_gain: factor on the predicted squeeze.
    """

    solver: Solver
    guidance: Guidance
    rank: Rank
    anchor_temperature: float
    graspness: float
    pregrasp_opening: float
    squeeze_gain: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        if not self.anchor_temperature > 0.0:
            raise ValueError(
                f"sampling.anchor_temperature: expected more than 0, got {self.anchor_temperature}."
            )
        if not self.graspness >= 0.0:
            raise ValueError(f"sampling.graspness must not be negative, got {self.graspness}.")

    def changed(self, **changes: Any) -> "SamplingConfig":
        """Return a copy with settings changed by name; None leaves one as it is.

        Args:
            changes: a field of this class, or ``steps`` and ``temperature`` of the solver, or ``cfg_scale`` of
                classifier-free guidance. ``solver``, ``guidance`` and ``rank`` take an object, a name of
                ``config/sampling/<group>``, or the settings of one.

        Raises:
            ValueError: no such setting or name, or a value that the setting cannot have.
        """
        check_sampling_changes(changes)
        chosen = {name: value for name, value in changes.items() if value is not None}
        solver = self._chosen_solver(chosen.pop("solver", None))
        solver = replace(solver, **{k: chosen.pop(k) for k in ("steps", "temperature") if k in chosen})
        guidance = _chosen("guidance", chosen.pop("guidance", self.guidance))
        if "cfg_scale" in chosen:
            scale = chosen.pop("cfg_scale")
            guidance = replace(guidance, classifier_free=replace(guidance.classifier_free, scale=scale))
        rank = _chosen("rank", chosen.pop("rank", self.rank))
        return replace(self, solver=solver, guidance=guidance, rank=rank, **chosen)

    def _chosen_solver(self, chosen: Any) -> Solver:
        """Return the named solver; the own one keeps its settings when it is named."""
        if chosen is None or chosen == self.solver.name:
            return self.solver
        solver: Solver = _chosen("solver", chosen)
        return solver


def _chosen(group: str, value: Any) -> Any:
    """Return an object as it is, and build one from a name or from settings."""
    if isinstance(value, str):
        return build(load_group(f"sampling/{group}", value))
    return build(dict(value)) if isinstance(value, Mapping) else value
