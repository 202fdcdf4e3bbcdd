"""Look at a hand's file: check it, propose what its parts mean, try it, and write all of it down.

python scripts/doctor.py my_hand.urdf --output hands/my_hand
python scripts/doctor.py hands/my_hand
python scripts/generate_dataset.py hand=hands/my_hand scenes=100 path=data/my_hand.h5

Writes hand.yaml, which hand=<folder> takes, and hand.html, which shows it in 3D and says what a person should look at.
The second command looks at a card that was corrected: it is read as it stands, tried, and its page made anew.
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import ProgressBars, console, say, setup_logging
from sceneleapultra.utils.core.files import make_folder
from sceneleapultra.utils.core.overrides import written
from sceneleapultra.utils.core.typed import as_typed

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand
    from sceneleapultra.hands.doctor import Proposal
    from sceneleapultra.hands.doctor.findings import Finding
    from sceneleapultra.reporting.drawing import Drawing
    from sceneleapultra.simulation.hand_trial import HandTrial

_SHOWN = 3  # grasps of each object on the page


def doctor(
    model: Path, *, output: Path | None = None, name: str | None = None, attempts: int = 48, seed: int = 0
) -> int:
    """Examine a hand and write its card and page; return the exit status: 1 if no closing held.

    Args:
        model: the hand's file: a URDF (.urdf) or an MJCF (.xml); or a card that was corrected, or its folder
        output: folder for hand.yaml and hand.html of a file; a card has its own
        name: of the hand; by default the file's, without its ending; a card has its own
        attempts: closings tried in simulation for each reading of the hand; 0 for none
        seed: of these closings

    Raises:
        ValueError: the file is no hand, or a card would be written over.
    """
    from sceneleapultra.hands import Hand, load_hand
    from sceneleapultra.hands.doctor import Proposal, propose
    from sceneleapultra.hands.doctor.card import write_card
    from sceneleapultra.hands.doctor.findings import examine
    from sceneleapultra.hands.loading import CARD
    from sceneleapultra.reporting.hand_page import HandFacts, write_hand_page

    setup_logging()
    corrected = model / CARD if model.is_dir() else model
    if corrected.suffix == ".yaml":
        _refuse_for_cards(corrected, output, name)
        card, hand = corrected, load_hand(corrected)
    else:
        card = _new_card(model, output)
        hand = Hand(replace(load_hand(model).description, name=name or model.stem))
    findings = examine(hand)
    _print_findings(hand, findings)
    readings = [Proposal(hand, "card", ())] if card == corrected else propose(hand)
    proposal, trials = _best(readings, attempts, seed)
    if card != corrected:
        make_folder(card.parent)
        write_card(card, hand.name, model, proposal.hand.description.semantics)
    chosen, store = written("hand", card.parent if card.name == CARD else card), f"data/{hand.name}.h5"
    commands = [
        f"python scripts/generate_dataset.py {chosen} scenes=100 {written('path', store)}",
        f"python train_lightning.py {chosen} {written('data.store', store)}",
    ]
    facts = HandFacts(
        findings=[(f.topic, f.level, f.text) for f in findings],
        remarks=proposal.remarks,
        trials=[_line(trial) for trial in trials] or ["none: attempts is 0"],
        drawings=[drawing for trial in trials for drawing in _drawings(proposal.hand, trial)],
        commands=[as_typed(command) for command in commands],
    )
    page = write_hand_page(proposal.hand, facts, card.with_suffix(".html"))
    for remark in proposal.remarks:
        say(f"check: {remark}", "yellow")
    for line in facts.trials:
        say(line)
    say(f"card  {card}\npage  {page}\nnext  {commands[0]}")
    if trials and not any(trial.held for trial in trials):
        say(
            f"No closing held: something in the card is wrong. Look at {page}, correct {card}, and look at that: "
            f"python scripts/doctor.py {card}",
            "bold red",
        )
        return 1
    return 0


def _refuse_for_cards(card: Path, output: Path | None, name: str | None) -> None:
    if output is not None or name is not None:
        raise ValueError(
            f"{card} is a card, which has its folder and its name: expected neither --output nor --name. Leave them "
            "out."
        )


def _new_card(model: Path, output: Path | None) -> Path:
    """Return where the card of a hand's file will lie.

    Raises:
        ValueError: the file is of another kind, no folder is named, or a card lies there.
    """
    from sceneleapultra.hands.importers.urdf import expand_xacro
    from sceneleapultra.hands.loading import CARD

    if model.suffix not in (".urdf", ".xml", ".mjcf"):
        raise ValueError(
            f"{model}: expected a hand's URDF (.urdf) or MJCF (.xml), or the folder of a card ({CARD})."
            + (f" {expand_xacro(model)}" if model.suffix == ".xacro" else "")
        )
    if output is None:
        raise ValueError("--output: expected a folder for the card and the page, such as hands/my_hand.")
    if (card := output / CARD).exists():
        raise ValueError(
            f"{card} is there already, and may have been corrected. Look at it with `sceneleap doctor {output}`, or "
            "remove it to have one proposed."
        )
    return card


def _best(proposals: list[Proposal], attempts: int, seed: int) -> tuple[Proposal, list[HandTrial]]:
    """Try each reading of the hand; return the one under which most closings hold, and what came of them."""
    if attempts <= 0:
        return proposals[0], []
    from sceneleapultra.simulation.hand_trial import try_hand, weak_joints
    from sceneleapultra.utils.core.config import build, load_group

    method = build(load_group("synthesis", "sim_close"))
    outcomes = []
    with ProgressBars(transient=True) as bars:
        advance = bars.start_bar("closings", len(proposals))
        for number, proposal in enumerate(proposals):
            outcomes.append(try_hand(proposal.hand, method, attempts, seed))
            advance(completed=number + 1)
    held = [sum(trial.held for trial in trials) for trials in outcomes]
    best = max(range(len(held)), key=lambda k: (held[k], -k))
    proposal = proposals[best]
    if weak := weak_joints(proposal.hand, method.closing):
        remark = (
            f"servos of {', '.join(weak)} press with {min(weak.values()):.0%} of what closing asks for, so objects may "
            "slip; `actuation` in the card takes their place"
        )
        proposal = replace(proposal, remarks=(*proposal.remarks, remark))
    return proposal, outcomes[best]


def _print_findings(hand: Hand, findings: list[Finding]) -> None:
    table = Table(title=f"hand {hand.name}", title_justify="left", box=None)
    for heading in ("looked at", "", "found"):
        table.add_column(heading)
    style = {"fine": "green", "check": "yellow", "wrong": "bold red"}
    for finding in findings:
        table.add_row(finding.topic, Text(finding.level, style[finding.level]), finding.text)
    console.print(table)


def _line(trial: HandTrial) -> str:
    return f"{trial.scene.objects[0].family}: {trial.held} of {trial.attempts} closings held"


def _drawings(hand: Hand, trial: HandTrial) -> list[Drawing]:
    """Draw some grasps that held, or some that did not where none did."""
    import numpy as np

    from sceneleapultra.reporting.drawing import FAILURE, SUCCESS, ColoredHands, draw_scene
    from sceneleapultra.utils.records import View

    no_view = View(np.eye(4), np.eye(3), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.uint8))
    success = trial.labeled.success
    chosen = np.flatnonzero(success if success.any() else ~success)[:_SHOWN]
    poses = trial.labeled.grasps.hand_pose
    return [
        draw_scene(
            trial.scene,
            no_view,
            0,
            ColoredHands(hand, poses[i : i + 1], [SUCCESS if success[i] else FAILURE]),
            caption=trial.scene.objects[0].family,
            detail="held" if success[i] else "not held",
        )
        for i in chosen
    ]


def main() -> None:
    """Examine what the command line names."""
    cli.run(doctor, __doc__)


if __name__ == "__main__":
    main()
