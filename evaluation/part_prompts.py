"""Prompts that name a part: what a test asks of each item, and whether the contacts of its grasps obey."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Method, Proposal
from sceneleapultra.evaluation.metrics import top_scored
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.protocols import PARTS, Protocol, measure_grasps
from sceneleapultra.utils.parts import part_prompt
from sceneleapultra.utils.verdicts import VerdictTable

if TYPE_CHECKING:
    from sceneleapultra.evaluation.methods.model import ModelMethod

PartPrompt = Literal["part", "not_part"]
Prompt = Literal["none", "category", PartPrompt]
_CANDIDATES = 32  # grasps of an item among which those are chosen that obey
PROMPTS: tuple[str, ...] = ("none", "category", *get_args(PartPrompt))


def words_for(prompt: Prompt, item: Item) -> dict[str, Any]:
    """Return what a model is asked for by words, as ``sample_request`` takes it.

    Raises:
        ValueError: a part of an item of which none can be named.
    """
    if prompt == "category":
        return {"prompt": item.object.family}
    if prompt == "none":
        return {}
    if item.part is None:
        raise ValueError(f"Item {item.index}: no part of {item.object.name} is known to be grasped.")
    words = part_prompt(item.part)
    return {"prompt": words} if prompt == "part" else {"negative_prompts": (words,)}


def without_prompt(model: "ModelMethod", prompt: PartPrompt, hand: Hand, protocol: Protocol) -> list[Method]:
    """Return what a prompted model is compared with: the same without prompt, and the best of its many by contact."""
    plain = replace(model, prompt="none", name=f"{model.name} without prompt", role=Role.SELECTION)
    return [plain, PartFilter(plain, _CANDIDATES, prompt, hand, protocol)]


def part_columns(table: VerdictTable, number: Int[np.ndarray, "g"]) -> dict[str, np.ndarray]:
    """Return whether each grasp is on the part that was named for it, by its number, and whether it keeps off it."""
    return {
        "on_part": table["held_part"] == number,
        "off_part": table["touched_parts"] & (1 << number) == 0,
    }


@dataclass(frozen=True)
class PartFilter:
    """A method without prompts of whose many grasps those are kept that obey one, measured on the true object.

    Where too few obey, the best of the others fill up.

    Args:
        method: what proposes grasps; with scores.
        candidates: grasps of each item that it is asked for.
        prompt: what is obeyed.
        hand: of the grasps.
        protocol: by whose contact settings they are measured.
    """

    method: Method
    candidates: int
    prompt: PartPrompt
    hand: Hand
    protocol: Protocol
    role: Role = Role.SELECTION
    privileged_inputs: str = "the true object and its parts"

    @property
    def name(self) -> str:
        """Row in tables."""
        return f"{self.method.name}, best of {self.candidates} by contact"

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return the ``k`` best of each item."""
        proposals = self.method.sample_items(items, self.candidates)
        return [self._keep(item, proposal, k) for item, proposal in zip(items, proposals, strict=True)]

    def _keep(self, item: Item, proposal: Proposal, k: int) -> Proposal:
        table = measure_grasps(self.hand, item.scene, item.target, proposal.grasps, self.protocol, PARTS)
        assert item.part is not None
        columns = part_columns(table, np.full(len(table), int(item.part)))
        obeys = columns["on_part" if self.prompt == "part" else "off_part"]
        rank: Float[np.ndarray, "n"] = proposal.score.argsort(kind="stable").argsort(kind="stable") + 0.0
        chosen = top_scored(rank + len(rank) * obeys, k)
        return Proposal(proposal.grasps[chosen], proposal.score[chosen])
