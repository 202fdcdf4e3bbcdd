"""The page of a data set: counts, distributions, examples in 3D, in one HTML file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from sceneleapultra.datasets import SPLITS, GraspStore, StoreItem
from sceneleapultra.datasets.inspection import Count, Inspection
from sceneleapultra.datasets.store.object_counts import ObjectCount, shared_shapes
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.charts import histogram
from sceneleapultra.reporting.drawing import (
    FAILURE,
    SUCCESS,
    ColoredHands,
    ColoredPoints,
    Drawing,
    draw_scene,
    origin_of,
)
from sceneleapultra.reporting.html import cards, legend, table, write_page
from sceneleapultra.utils.core.stats import wilson_interval

LISTED = 20  # problems on the terminal and on the page
_EXAMPLES = 4  # of each split
_WORST = 5  # objects named for their low success


def quality_lines(counts: Sequence[ObjectCount]) -> list[str]:
    """Summarize the quality of grasps and objects, one line for each measure."""
    grasps, checked = sum(c.grasps for c in counts), sum(c.checked for c in counts)
    grasped = [c for c in counts if c.successes]
    same = [names for names, _ in shared_shapes(counts)]
    covered = 100 * np.mean([c.coverage for c in grasped]) if grasped else 0.0
    example = f", for example {', '.join(same[0])}" if same else ""
    lines = [
        f"coverage: a success from {covered:.0f} % of the directions about an object",
        f"repeated grasps: {sum(c.repeated for c in counts)} of {grasps}",
        f"hand in something: {sum(c.colliding for c in counts)} of {checked} successes looked at",
        f"beyond a joint limit: {sum(c.beyond for c in counts)} of {grasps} grasps",
        f"objects of one surface under several names: {len(same)}{example}",
    ]
    worst = sorted((c for c in counts if c.grasps), key=lambda c: c.successes / c.grasps)[:_WORST]
    if worst:
        lowest = ", ".join(f"{c.name} {c.successes}/{c.grasps}" for c in worst)
        lines.append(f"lowest success: {lowest}")
    return lines


def type_line(found: Inspection) -> str:
    """Say how many successes are power, precision and lateral grasps."""
    kinds = ", ".join(f"{number} {name}" for name, number in found.grasp_types.items() if number)
    return f"types of the successes: {kinds or 'none'}"


_OBJECT_HEADINGS = (
    "object",
    "family",
    "scenes",
    "grasps",
    "successes",
    "coverage",
    "repeated",
    "in something",
    "beyond limits",
)


def _object_rows(counts: Sequence[ObjectCount]) -> list[tuple[str, ...]]:
    """Return a line for each object, the lowest success first."""
    ordered = sorted(counts, key=lambda c: (c.successes / max(1, c.grasps), c.name))
    return [
        (
            c.name,
            c.family,
            *map(str, (c.scenes, c.grasps, c.successes)),
            f"{100 * c.coverage:.0f} %",
            str(c.repeated),
            f"{c.colliding} of {c.checked}",
            str(c.beyond),
        )
        for c in ordered
    ]


HEADINGS = ("family", "success", "successes", "grasps", "solved", "placed", "objects")


def family_rows(counts: Mapping[str, Count]) -> list[tuple[str, ...]]:
    """Return a line for each family, and one for all."""
    total = Count(
        set().union(*(c.objects for c in counts.values())),
        *(sum(getattr(c, n) for c in counts.values()) for n in ("placed", "solved", "grasps", "successes")),
    )
    rows = []
    for family, c in (*counts.items(), ("all", total)):
        low, high = wilson_interval(c.successes, c.grasps)
        rate = f"{100 * c.successes / max(1, c.grasps):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        numbers = (c.successes, c.grasps, c.solved, c.placed, len(c.objects))
        rows.append((family, rate, *map(str, numbers)))
    return rows


def write_dataset_page(store: GraspStore, hand: Hand, found: Inspection, path: Path) -> Path:
    """Write one HTML file with counts, distributions and examples."""
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in found.problems[:LISTED])
    number = len(found.problems)
    verdict = f"{number} problems" + (f", the first {LISTED}:" if number > LISTED else ":") if number else ""
    scenes = ", ".join(f"{found.scenes[s]} {s}" for s in SPLITS if found.scenes[s])
    body = [
        f'<p class="lead">{store.num_scenes} scenes ({scenes}), {store.num_objects} objects, hand '
        f"{escape(hand.name)}, protocol {escape(str(store.attributes['protocol']))}.</p>",
        f"<h2>Problems</h2><p>{verdict}</p><ul>{problems}</ul>" if number else "<p>No problems found.</p>",
        "<h2>Success by family</h2>",
        '<p class="legend">Brackets: 95 % Wilson interval. Placed: counted in each scene an object lies '
        "in. Solved: of those, with a successful grasp.</p>",
    ]
    for split in SPLITS:
        counts = {family: c for (s, family), c in sorted(found.counts.items()) if s == split}
        if counts:
            body += [f"<h3>{escape(split)}</h3>", table(HEADINGS, family_rows(counts))]
    body += ["<h2>Success by object</h2><details><summary>All objects, the lowest success first</summary>"]
    body += [table(_OBJECT_HEADINGS, _object_rows(list(found.objects.values()))), "</details>"]
    measured = [*quality_lines(list(found.objects.values())), type_line(found)]
    lines = "".join(f"<li>{escape(line)}</li>" for line in measured)
    body += [f"<ul>{lines}</ul>"]
    ended = [(name.replace("_", " "), str(n)) for name, n in found.outcomes.items() if n]
    body += ["<h2>How the grasps ended</h2>", table(("outcome", "grasps"), ended)]
    body += ["<h2>Distributions</h2>", '<div class="cards">']
    body.append(histogram(found.visible, "points of an object in a view", (0.0, 1024.0)))
    body.append(histogram(found.penetration_mm, "penetration of successes, mm", (0.0, 6.0)))
    if len(found.robustness):
        body.append(histogram(found.robustness, "robustness, where measured", (0.0, 1.0)))
    body.append("</div><h2>Joints of successful grasps</h2>")
    body.append('<p class="legend">Rad; each axis is the range of the joint.</p><div class="cards">')
    for j, name in enumerate(hand.joint_names):
        low, high = hand.joint_limits[j].tolist()
        body.append(histogram(found.qpos[:, j], name, (low, high)))
    drawings = examples(store, hand)
    body += ["</div><h2>Examples</h2>", legend("labels"), cards(drawings)]
    facts = {k: v for k, v in store.attributes.items() if k != "generator"}
    settings = json.dumps(json.loads(store.attributes["generator"]), indent=2)
    body += [
        "<h2>How it was made</h2>",
        table(("attribute", "value"), [(k, str(v)) for k, v in facts.items()]),
        f"<details><summary>Settings of the generator</summary><pre>{escape(settings)}</pre></details>",
    ]
    return write_page(f"Data set {store.path.name}", body, drawings, path)


def examples(store: GraspStore, hand: Hand) -> list[Drawing]:
    """Draw items spread over the splits: a hand that succeeded, and where the bases of all tested hands were."""
    drawings = []
    for split in SPLITS:
        items = store.items(split, min_points=1, require_success=True)
        chosen = np.linspace(0, len(items) - 1, min(_EXAMPLES, len(items))).round().astype(int)
        drawings += [_example(store, items[i], hand) for i in chosen]
    return drawings


def _example(store: GraspStore, item: StoreItem, hand: Hand) -> Drawing:
    scene, labeled = store.scene(item.scene), store.labeled(item.scene, item.target)
    shown = np.flatnonzero(labeled.success)[:1]
    drawing = draw_scene(
        scene,
        store.view(item.view),
        item.target,
        ColoredHands(hand, labeled.grasps.hand_pose[shown], [SUCCESS]),
        caption=f"{store.split_of(item.scene)}: {scene.objects[item.target].name}",
        detail=f"scene {item.scene}, {labeled.success.sum()} of {len(labeled.success)} succeed; dots: hands' bases",
    )
    bases = labeled.grasps.hand_pose[:, :3] - origin_of(scene, item.target)
    places = (ColoredPoints(bases[~labeled.success], FAILURE), ColoredPoints(bases[labeled.success], SUCCESS))
    return replace(drawing, clouds=(*drawing.clouds, *places))
