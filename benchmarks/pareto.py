"""What do fewer bits, steps and channels cost? Forms of one model by size, time and picks, paired on the same items.

    python -m benchmarks.pareto --bundles bundles --sets "unseen objects=data/test_all.h5:test"
        "unseen families=data/test_all.h5:test_family" "YCB=data/test_ycb.h5:test"
        "ContactDB=data/test_contactdb.h5:test"

--bundles holds the folders float32, bf16 and int8; those that are not there are exported first, of leap_table, two
minutes each. ``--checkpoints "distilled=runs/distilled.ckpt"`` adds a row for another checkpoint, as float32. Each
variant answers every item with 64 grasps on onnxruntime, one thread; the best by its score is tried in
``scene-lift``, and compared with what float32's best did on the same item. Dynamic: matrix products of whole numbers,
their activations rounded as they come, by ``onnxruntime.quantization``. What was tried is written after each set, and
not tried again; times are taken at the end of every run, of the variants that it names, in turn.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, command_line, machine, put_into_pages, table, write
from benchmarks.picking_table import read_sets
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.metrics import paired_difference, success_rate
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.bundle.manifest import is_bundle
from sceneleapultra.models.bundle.parts import WEIGHTS, Precision
from sceneleapultra.models.bundle.probe import probe_request
from sceneleapultra.models.bundle.write import write_bundle
from sceneleapultra.models.checkpoints.zoo import ZOO
from sceneleapultra.serving.runtime.model import OnnxModel
from sceneleapultra.simulation.protocols import HandModel, Protocol, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.files import read_sensor

RESULT = RESULTS / "pareto.json"
SAMPLES, TIMED = 64, 20
REFERENCE = "float32"


@dataclass(frozen=True)
class Variant:
    """A model in one form, sampled in one way."""

    bundle: Precision = "float32"
    checkpoint: Path | None = None  # another one than the shipped model
    dynamic: tuple[str, ...] = ()  # graphs whose matrix products are of whole numbers
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def folder(self, bundles: Path) -> Iterator[Path]:
        """Give the folder of its graphs, exported where it is not there."""
        bundle = bundles / (self.checkpoint.stem if self.checkpoint else self.bundle)
        if not is_bundle(bundle):
            request = probe_request(GraspRequest.of(read_sensor(ZOO / "example_view.npz", None, None)))
            model = load_grasp_model(self.checkpoint or "leap_table")
            write_bundle(model, request, bundle, onnx=True, precision=self.bundle)
        if not self.dynamic:
            yield bundle
            return
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logging.disable(logging.WARNING)  # it advises to what exporters have done
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / self.bundle
            shutil.copytree(bundle, folder)
            for name in self.dynamic:
                path = folder / f"{name}.onnx"
                quantize_dynamic(path, path, weight_type=QuantType.QInt8)
            logging.disable(logging.NOTSET)
            yield folder


VARIANTS = {
    REFERENCE: Variant(),
    "int8 weights": Variant("int8"),
    "bf16 weights": Variant("bf16"),
    "int8 dynamic": Variant(dynamic=("encoder", "denoiser", "score")),
    "float32, 4 steps": Variant(sampling={"steps": 4}),
    "float32, 2 steps": Variant(sampling={"steps": 2}),
}


def best_of(model: OnnxModel, variant: Variant, items: list[Item], hand: HandModel, workers: int) -> Any:
    """Return the verdicts of each item's best grasp."""
    method = ModelMethod(model=model, sampling=variant.sampling, seed=0)
    executor = LocalExecutor(workers=workers)

    def best(item: Item) -> Grasps:
        (proposal,) = method.sample_items([item], SAMPLES)
        return proposal.grasps[np.argsort(-proposal.score, kind="stable")[:1]]

    grasps = map_ordered(best, items, executor)
    jobs = [(item.scene, item.target, one) for item, one in zip(items, grasps, strict=True)]
    protocol = build(load_group("protocol", "scene-lift"))
    assert isinstance(protocol, Protocol)
    return evaluate_many(hand, jobs, protocol, executor)


def milliseconds(
    variants: dict[str, Variant], models: dict[str, OnnxModel], items: list[Item]
) -> dict[str, float]:
    """Return the processor time of a call of each, the variants in turn, so that what else runs falls on all."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    for item in items[:TIMED]:
        for name, model in models.items():
            method = ModelMethod(model=model, sampling=variants[name].sampling, seed=0)
            begin = time.process_time()
            method.sample_items([item], SAMPLES)
            spent[name].append(time.process_time() - begin)
    return {name: round(1e3 * float(np.median(values)), 1) for name, values in spent.items()}


def megabytes(folder: Path) -> dict[str, float]:
    """Return the size of the weights alone, and of the graphs."""
    graphs = sum(file.stat().st_size for file in folder.glob("*.onnx"))
    return {"weights_mb": (folder / WEIGHTS).stat().st_size / 1e6, "graphs_mb": graphs / 1e6}


def compared(
    found: dict[str, Any], reference: dict[str, Any], objects: dict[str, list[str]]
) -> dict[str, Any]:
    """Return rates, and what was gained and lost against the reference, item by item; objects of a set are its own."""
    names = [f"{name} of {set_name}" for set_name in found["picked"] for name in objects[set_name]]
    rows: dict[str, Any] = {"items": len(names), "objects": len(set(names))}
    for key in ("picked_cleanly", "picked"):
        texts = ("".join(d[key][set_name] for set_name in found[key]) for d in (found, reference))
        own, other = (np.array([c == "1" for c in text]) for text in texts)
        rate = success_rate(own, names, seed=0, resamples=2000)
        value, interval = paired_difference(other, names, own, names, seed=0, resamples=10_000)
        rows[key] = {
            "percent": round(100 * rate.value, 1),
            "wilson95": [round(100 * x, 1) for x in rate.wilson],
            "difference": round(100 * value, 2),
            "difference95": [round(100 * x, 2) for x in interval],
            "gained": int((own & ~other).sum()),
            "lost": int((other & ~own).sum()),
        }
    return rows


def page(document: dict[str, Any]) -> str:
    """Write what was measured as Markdown."""
    lines = []
    for name, found in document["variants"].items():
        if "ms" not in found:  # a run that was cut off
            continue
        cells = [f"{found['megabytes'][key]:.2f}" for key in ("weights_mb", "graphs_mb")]
        lines.append([name, *cells, f"{found['ms']:.0f}", str(found["compared"]["items"])])
        for key in ("picked_cleanly", "picked"):
            r = found["compared"][key]
            low, high = r["difference95"]
            lines[-1] += [f"{r['percent']} {r['wilson95']}"]
            lines[-1] += [f"{r['difference']:+.1f} [{low:+.1f}, {high:+.1f}] (+{r['gained']} -{r['lost']})"]
    against = "points against float32 (95 % over objects; items gained, lost)"
    head = ["", "weights, MB", "graphs, MB", "64 grasps, ms", "items"]
    head += [text for key in ("picked cleanly, %", "picked, %") for text in (key, against)]
    about = f"{document['machine']}, one thread, processor time."
    return "\n\n".join([table(head, lines), about])


def named(text: str) -> tuple[str, Variant]:
    """Read a row's name and the path of its checkpoint.

    Raises:
        argparse.ArgumentTypeError: there is no such file.
    """
    name, _, path = text.rpartition("=")
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"expected name=checkpoint, a file that is there, got '{text}'")
    return name, Variant(checkpoint=Path(path))


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--bundles", type=Path, required=True, help="folder of the bundles")
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--checkpoints", nargs="+", default=[], type=named, help="name=checkpoint")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    hand = Hand(load_hand("leap_right").description)
    items = read_sets(options, hand)
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {"objects": {}, "variants": {}}
    document |= {"samples": SAMPLES, "machine": machine("cpu")}
    for set_name, chosen in items.items():
        objects = [item.object.name for item in chosen]
        if document["objects"].setdefault(set_name, objects) != objects:
            raise ValueError(
                f"{RESULT} holds other items of {set_name}. Remove it, or ask for the same ones."
            )
    variants = {name: VARIANTS[name] for name in options.variants} | dict(options.checkpoints)
    models = {}
    with ExitStack() as folders:
        for name, variant in variants.items():
            found = document["variants"].setdefault(name, {"picked_cleanly": {}, "picked": {}})
            folder = folders.enter_context(variant.folder(options.bundles))
            found["megabytes"] = megabytes(folder)
            models[name] = OnnxModel(folder, threads=1)
            for set_name, chosen in items.items():
                if set_name in found["picked"]:
                    continue
                verdicts = best_of(models[name], variant, chosen, HandModel.from_hand(hand), options.workers)
                for key in ("picked_cleanly", "picked"):
                    found[key][set_name] = "".join(str(int(v[key][0])) for v in verdicts)
                write(document, RESULT, seed=0)
                print(name, set_name, file=sys.stderr, flush=True)
            found["compared"] = compared(found, document["variants"][REFERENCE], document["objects"])
        times = milliseconds(variants, models, next(iter(items.values())))
    for name, ms in times.items():
        document["variants"][name]["ms"] = ms
    write(document, RESULT, seed=0)
    text = page(document)
    print(text)
    put_into_pages("export", "python -m benchmarks.pareto", text)


if __name__ == "__main__":
    main()
