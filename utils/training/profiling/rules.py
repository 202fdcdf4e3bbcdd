"""Which stage holds training up, and which setting to turn: rules over measured shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A stage that takes more than its share, and what helps."""

    stage: str
    above: float  # share of the whole
    remedy: str


RULES: tuple[Rule, ...] = (
    Rule("h2d", 0.05, "data.cloud.num_points or data.grasps.number make smaller batches"),
    Rule("augment", 0.10, "data.loading.augment_on=workers moves it to the loading processes"),
    Rule("fwd.encode", 0.35, "model.generator.encoder has fewer centers or channels to offer (levels, dim)"),
    Rule("fwd.denoise", 0.35, "model.generator.decoder.set_attention=false, or fewer of its depth and dim"),
    Rule("fwd.score", 0.20, "data.grasps.failures makes fewer grasps to score"),
    Rule("opt", 0.10, "trainer.accumulate_grad_batches makes updates rarer"),
    Rule("clip", 0.05, "trainer.gradient_clip_val=null leaves it out"),
    Rule("ema", 0.05, "callbacks.ema=null leaves it out"),
    Rule("callbacks", 0.05, "trainer.log_every_n_steps makes them rarer"),
    Rule("checkpoint", 0.05, "callbacks.last.every_n_steps makes them rarer"),
    Rule(
        "val.step",
        0.20,
        "trainer.val_check_interval makes validations rarer, trainer.limit_val_batches shorter",
    ),
    Rule("val.simulate", 0.20, "callbacks.simulation.max_items or samples_per_item make it shorter"),
    Rule("train", 0.15, "trainer.log_every_n_steps: the rest is Lightning's, mostly logging"),
)
_WAITING = 0.10  # share of the whole from which waiting for data is a bottleneck


def advice(shares: Mapping[str, float], loading: Mapping[str, float], read: Mapping[str, int]) -> list[str]:
    """Return one sentence for each stage that takes more than its share, the worst first.

    Args:
        shares: of the stages of training, see :meth:`~sceneleapultra.utils.training.profiling.tree.StageTree.shares`.
        loading: the same of the loading processes, of their own total.
        read: what they read, in bytes, and how often their memory answered.
    """
    found = [
        (shares[rule.stage], f"{rule.stage} takes {shares[rule.stage]:.0%} of the time: {rule.remedy}.")
        for rule in RULES
        if shares.get(rule.stage, 0.0) > rule.above
    ]
    waited = shares.get("wait", 0.0)
    if waited > _WAITING:
        found.append((waited, f"wait takes {waited:.0%} of the time: {_of_waiting(loading, read)}."))
    return [sentence for _, sentence in sorted(found, reverse=True)]


def _of_waiting(loading: Mapping[str, float], read: Mapping[str, int]) -> str:
    reading = loading.get("data.read_scene", 0.0) + loading.get("data.read_grasps", 0.0)
    stages = {
        "reading": reading,
        "augmentation": loading.get("data.augment", 0.0),
        "drawing grasps": loading.get("data.sample_grasps", 0.0),
    }
    worst = max(stages, key=lambda name: stages[name])
    if stages[worst] < 0.4:
        return "data.loading.workers loads in more processes"
    remedies: dict[str, Callable[[], str]] = {
        "reading": lambda: (
            "data.loading.staging=<local folder> reads from a local disk"
            if 2 * read["fetched"] > read["mapped"] + read["decoded"]
            else "data.loading.cache_mb remembers more, data.loading.workers reads in more processes"
        ),
        "augmentation": lambda: "data.loading.augment_on=device, or a lighter data/augment",
        "drawing grasps": lambda: "data.grasps.strategy=random draws at once",
    }
    return f"{worst} takes {stages[worst]:.0%} of loading; {remedies[worst]()}"
