"""Active learning of a scorer: rounds of choosing own grasps, simulating them, training score heads anew, testing them.

A round's choice is written down before it is simulated, and everything left to chance is keyed by seed and round, so
that a run that was killed goes on to the same end.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from sceneleapultra.evaluation.acquisition import ACQUISITIONS, SCORED, PoolState
from sceneleapultra.evaluation.grasp_pool import EncodedPool, LabeledPool
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.losses import score_loss
from sceneleapultra.models.metrics import auroc
from sceneleapultra.models.network.heads.score import ScoreHead, ScoreHeadConfig
from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.files import read_json_object, write_json
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.seeding import keyed_seed

_REMEDY = "Remove it; the same command makes it again."
_ITEMS_AT_ONCE = 32  # scored


@dataclass(frozen=True, kw_only=True)
class ScorerSettings:
    """How an ensemble of score heads is trained; ``config/active_learning.yaml`` says what each number means."""

    head: ScoreHeadConfig
    members: int
    steps: int
    batch: int
    lr: float

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        for name in ("members", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"scorer.{name}: expected at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """What a run of active learning does.

    Args:
        acquisition: name of the rule that chooses, from the second round on; the first is drawn at random.
        rounds: how many.
        per_round: grasps labeled in each.
        scorer: what is trained after each.
        seed: of everything.

    Raises:
        ValueError: no such rule, or a number that makes no sense.
    """

    acquisition: str
    rounds: int
    per_round: int
    scorer: ScorerSettings
    seed: int

    def __post_init__(self) -> None:
        if self.acquisition not in ACQUISITIONS:
            raise unknown_name("acquisition", self.acquisition, ACQUISITIONS)
        for name in ("rounds", "per_round"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}.")


def learn(
    pool: LabeledPool, test: LabeledPool, generator: GraspGenerator, settings: LearningSettings, path: Path
) -> list[dict[str, Any]]:
    """Run, or continue, the rounds; return what each gave, as ``path`` holds it.

    Args:
        pool: whose grasps are chosen.
        test: other objects, all of whose grasps are simulated once.
        generator: whose score head is trained anew; everything else of it stays.
        settings: what is done.
        path: of the rounds, a JSON file.

    Raises:
        ValueError: the file is of other settings, or the pool has fewer grasps than are asked for.
    """
    if (wanted := settings.rounds * settings.per_round) > pool.size:
        raise ValueError(
            f"rounds={settings.rounds} of per_round={settings.per_round} label {wanted} grasps, the pool has "
            f"{pool.size}. Lower them, or raise candidates."
        )
    plain = json.loads(json.dumps(asdict(settings)))
    rounds: list[dict[str, Any]] = []
    if path.is_file():
        kept = read_json_object(path, _REMEDY)
        if differing := differences(kept["settings"], plain):
            raise ValueError(
                f"{path} was begun with other settings ({'; '.join(differing)}). Name another folder."
            )
        rounds = kept["rounds"]
    test.oracle.label(np.arange(test.size))
    heads: list[ScoreHead] | None = []
    for number in range(settings.rounds):
        chosen = np.array([row for one in rounds[:number] for row in one["chosen"]], dtype=int)
        if number == len(rounds):
            if settings.acquisition not in SCORED:
                heads = []  # what no rule reads is not computed
            if heads is None:  # trained before the run was stopped
                heads = train_scorers(pool, chosen, generator, settings, number - 1)
            rounds.append({"chosen": _choose(pool, chosen, heads, settings, number).tolist()})
            write_json(path, {"settings": plain, "rounds": rounds})
        chosen, heads = np.concatenate([chosen, np.array(rounds[number]["chosen"], dtype=int)]), None
        if "auroc" not in rounds[number]:
            pool.oracle.label(chosen)
            heads = train_scorers(pool, chosen, generator, settings, number)
            rounds[number] |= {
                "labels": len(chosen),
                "cpu_s": round(float(pool.oracle.cpu_s[chosen].sum()), 2),
                **evaluate_scorers(heads, test),
            }
            write_json(path, {"settings": plain, "rounds": rounds})
    return rounds


def _choose(
    pool: LabeledPool,
    chosen: Int[np.ndarray, "c"],
    heads: Sequence[ScoreHead],
    settings: LearningSettings,
    number: int,
) -> Int[np.ndarray, "k"]:
    """Return the grasps of a round."""
    labeled = np.zeros(pool.size, dtype=bool)
    labeled[chosen] = True
    state = PoolState(success_probability(heads, pool.encoded), pool.encoded.embedding, labeled)
    rule = settings.acquisition if number else "random"
    return ACQUISITIONS[rule](state, settings.per_round, np.random.default_rng([settings.seed, number]))


def train_scorers(
    pool: LabeledPool,
    rows: Int[np.ndarray, "c"],
    generator: GraspGenerator,
    settings: LearningSettings,
    number: int,
) -> list[ScoreHead]:
    """Return score heads trained from nothing on the labels of some rows; members differ by weights and order."""
    s, truth, heads = settings.scorer, pool.truth(rows), []
    for member in range(s.members):
        rng = torch.Generator().manual_seed(keyed_seed(settings.seed, number, member))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(settings.seed, member))
            head = s.head.build(generator.head_inputs).to(truth.device)
        assert isinstance(head, ScoreHead)
        optimizer = torch.optim.AdamW(head.parameters(), lr=s.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, s.steps)
        for _ in range(s.steps):
            row = torch.from_numpy(rows)[torch.randint(len(rows), (s.batch,), generator=rng)].to(truth.device)
            item, grasp = row // truth.shape[1], (row % truth.shape[1])[:, None]
            some, own = pool.encoded.select(item, grasp), truth[item[:, None], grasp]
            kept = torch.rand(some.scene.surface.xyz.shape[:2], generator=rng).to(truth.device) < head.keep
            logits = head(some.grasps, some.scene, kept)
            stable, collision_free = own.unbind(-1)
            loss = score_loss(logits, stable, collision_free, torch.ones_like(stable, dtype=torch.bool))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        heads.append(head.eval())
    return heads


@torch.no_grad()
def success_probability(heads: Sequence[ScoreHead], encoded: EncodedPool) -> Float[np.ndarray, "m n"]:
    """Return the probability that each grasp is stable and collision-free, by each member."""
    i, c = encoded.grasps.states.shape[:2]
    found = np.empty((len(heads), i * c))
    for start in range(0, i, _ITEMS_AT_ONCE):
        item = torch.arange(start, min(i, start + _ITEMS_AT_ONCE))
        some = encoded.select(item, torch.arange(c).expand(len(item), c))
        for row, head in zip(found, heads, strict=True):
            p = head(some.grasps, some.scene).sigmoid().prod(-1).flatten()
            row[start * c : (start + len(item)) * c] = p.cpu().numpy()
    return found


def evaluate_scorers(heads: Sequence[ScoreHead], test: LabeledPool) -> dict[str, float | None]:
    """Return how well an ensemble's mean orders the grasps of test objects, and how often its best of each succeeds.

    Beside them the share of objects with any success, which no order exceeds, and that of all grasps.
    """
    p = success_probability(heads, test.encoded).mean(0)
    success = test.oracle.labeled.success
    by_item, order = success.reshape(len(test.oracle.items), -1), p.reshape(len(test.oracle.items), -1)
    score, positive = torch.from_numpy(p), torch.from_numpy(success.astype(float))
    return {
        "auroc": auroc(score, positive, 1.0 - positive),
        "best": float(by_item[np.arange(len(order)), order.argmax(1)].mean()),
        "any": float(by_item.any(1).mean()),
        "all": float(success.mean()),
    }
