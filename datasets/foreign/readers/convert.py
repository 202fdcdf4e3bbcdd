"""How a foreign data set becomes a store: scene after scene in parallel processes, checked, resumable, summed up."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from sceneleapultra.datasets.foreign.readers.assemble import Assembler, GraspCount, GraspRules, PointRules
from sceneleapultra.datasets.foreign.readers.base import Format, MeshProvider, SourceScene
from sceneleapultra.datasets.foreign.readers.source import Source
from sceneleapultra.datasets.foreign.readers.splits import Splits
from sceneleapultra.datasets.store.schema import Origin
from sceneleapultra.datasets.store.writer import StoreWriter
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.files import write_json
from sceneleapultra.utils.core.parallel import Executor, map_ordered


@dataclass(frozen=True)
class Report:
    """What became of one scene of the source."""

    key: str
    split: str
    status: Literal["written", "skipped", "bad"]
    grasps: GraspCount = field(default_factory=GraspCount)
    reason: str = ""


@dataclass(frozen=True)
class Summary:
    """What became of a source."""

    store: Path
    scenes: int
    already: int  # written by an earlier run
    reports: tuple[Report, ...]
    grasps: GraspCount  # of the whole store, and of what was left out

    def counted(self, status: str) -> list[Report]:
        """Return the scenes with a status."""
        return [r for r in self.reports if r.status == status]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How a data set is converted; ``config/conversion`` says what each setting means."""

    reader: Format
    renderer: MeshProvider
    hand: str
    splits: Splits
    grasps: GraspRules
    points: PointRules
    max_bad_fraction: float
    executor: Executor

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_bad_fraction <= 1.0:
            raise ValueError(f"conversion.max_bad_fraction: expected 0 to 1, got {self.max_bad_fraction}.")

    def settings(self) -> dict[str, object]:
        """Return everything the content of the store depends on, beside the source, as plain containers."""
        reader = {"format": self.reader.name, **asdict(self.reader)}  # type: ignore[call-overload]
        plain = {
            "hand": self.hand,
            **asdict(self.grasps),
            **asdict(self.points),
        }  # flat, as stores of 0.1 have them
        return {
            **plain,
            "reader": reader,
            "splits": asdict(self.splits),
            "renderer": repr(vars(self.renderer)),
        }

    def __call__(
        self, root: str | Path, dest: str | Path, progress: Callable[[Report, int], None] = lambda *_: None
    ) -> Summary:
        """Convert, or continue to; ``progress`` is told of each scene, and how many there are.

        Raises:
            FileNotFoundError: the source or a file of it is missing.
            FileExistsError: the store exists already.
            ValueError: the source contradicts its format, changes meanwhile, or more of it than allowed is bad.
        """
        root, dest, hand = Path(root), Path(dest), load_hand(self.hand)
        entries = index(self.reader, root)
        source = Source.scan(root, self.reader.places(root))
        splits, of_object = self.splits.assign(entries)
        columns = self.reader.columns(root)
        assembler = Assembler(
            hand=hand,
            renderer=self.renderer,
            split_of_object=of_object,
            columns=frozenset(columns),
            grasps=self.grasps,
            points=self.points,
            seed=self.splits.seed,
        )
        writer = StoreWriter(
            dest,
            hand=hand,
            protocol=claim_of(self.reader.name),
            protocol_hash="none",
            generator={"conversion": self.settings(), "source": fingerprint(entries)},
            seed=self.splits.seed,
            origin=Origin(
                pregrasp_qpos=_origin("pregrasp_qpos" in columns, self.grasps.open_rad),
                squeeze_qpos=_origin("squeeze_qpos" in columns, self.grasps.squeeze_rad),
                verdicts="claimed",
                split_by=self.splits.by,
            ),
            source=source.to_json(),
        )
        if writer.was_there:
            return Summary(
                dest, len(entries), len(writer.done_indices()), (), GraspCount(**writer.counted["grasps"])
            )
        begun = Source.from_json(writer.source)
        self._check_unchanged(begun, source, root, writer)
        done = writer.done_indices()
        todo = [i for i in range(len(entries)) if i not in done]
        job = Job(root, self.reader, entries, splits, assembler, writer)
        allowed = int(self.max_bad_fraction * len(entries))
        reports: list[Report] = []
        for report in map_ordered(
            job.convert, todo, self.executor, describe=lambda i: f"scene {entries[i].key}"
        ):
            reports.append(report)
            progress(report, len(entries))
            bad = [r for r in reports if r.status == "bad"]
            if len(bad) > allowed:
                raise ValueError(
                    f"{root}: {len(bad)} of {len(entries)} scenes are bad, conversion.max_bad_fraction="
                    f"{self.max_bad_fraction:g} allows {allowed}. Last: {bad[-1].reason} Mend it and repeat the "
                    "command: what is written is kept."
                )
        self._check_unchanged(begun, Source.scan(root, self.reader.places(root)), root, writer)
        _write_skipped(dest, reports)
        if not writer.done_indices():
            reasons = "; ".join(sorted({r.reason for r in reports})[:3])
            raise ValueError(
                f"{root}: nothing to store, all {len(entries)} scenes were left out ({reasons})."
            )
        # What earlier runs wrote counts too; what they left out was looked at again.
        grasps = sum((r.grasps for r in reports if r.status != "written"), GraspCount())
        grasps = sum((GraspCount(**note) for note in writer.notes()), grasps)
        counted = {"scenes": len(entries), "grasps": asdict(grasps)}
        return Summary(writer.finish(counted), len(entries), len(done), tuple(reports), grasps)

    @staticmethod
    def _check_unchanged(begun: Source, now: Source, root: Path, writer: StoreWriter) -> None:
        if changes := begun.changes(now):
            raise ValueError(
                f"data.root: {root} changed since its conversion to {writer.path} was begun: {changes}. Restore it, or "
                f"remove {writer.parts} to begin anew."
            )


def index(reader: Format, root: Path) -> list[SourceScene]:
    """List the scenes of a source.

    Raises:
        FileNotFoundError: no such folder, or no scene in it.
    """
    if not root.exists():
        raise FileNotFoundError(f"data.root: no {reader.name} data at {root}. Pass the folder that holds it.")
    entries = reader.index(root)
    if not entries:
        raise FileNotFoundError(f"data.root: {root} holds no scene of format '{reader.name}'.")
    return entries


def claim_of(format_name: str) -> str:
    """Return what stands for the protocol in a store whose verdicts are its source's."""
    return f"claimed by {format_name}"


def fingerprint(entries: list[SourceScene]) -> str:
    """Hash what a source holds, by name."""
    text = json.dumps([[e.key, e.objects] for e in entries])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _origin(present: bool, rad: float | None) -> Literal["source", "derived", "absent"]:
    return "source" if present else "absent" if rad is None else "derived"


def _write_skipped(dest: Path, reports: list[Report]) -> None:
    """List what was left out beside the store."""
    left_out = [asdict(r) for r in reports if r.status != "written"]
    if left_out:
        write_json(dest.with_name(f"{dest.name}.left_out.json"), left_out, indent=1)


@dataclass(frozen=True)
class Job:
    """What a process needs to convert any scene of a source."""

    root: Path
    reader: Format
    entries: list[SourceScene]
    splits: list[str]
    assembler: Assembler
    writer: StoreWriter

    def convert(self, i: int) -> Report:
        """Read, check and write one scene."""
        entry, split, a = self.entries[i], self.splits[i], self.assembler
        try:
            raw = self.reader.read(self.root, entry.key, a.hand)
            record, grasps = a.assemble(raw, i, split, entry.key)
            if grasps.written == 0:
                return Report(entry.key, split, "skipped", grasps, _without(entry.key, grasps))
            self.writer.write(record, asdict(grasps))
        except (ValueError, FileNotFoundError) as error:
            return Report(entry.key, split, "bad", reason=str(error))
        return Report(entry.key, split, "written", grasps)


def _without(key: str, grasps: GraspCount) -> str:
    """Say why no grasp is left of a scene."""
    moved = (
        f"; {grasps.moved} whose wrist moves between pre-grasp, grasp and squeeze further than "
        "conversion.grasps.max_wrist_motion_m and max_wrist_motion_deg allow (null keeps them)"
    )
    return f"{key}: no grasp left after filtering ({grasps.dropped} dropped{moved if grasps.moved else ''})."
