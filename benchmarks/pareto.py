"""What fewer bits and fewer steps cost: bytes and milliseconds beside grasps that pick, paired on the same items.

    python -m benchmarks.pareto --bundles bundles --sets "unseen objects=data/test.h5:test"
        "unseen families=data/test.h5:test_family"

--bundles holds the folders float32, bf16 and int8; those that are not there are exported first, of leap_table, two
minutes each. Each variant answers every item with 64 grasps on onnxruntime, one thread; the best by its score is
tried in ``scene-lift``, and compared with what float32's best did on the same item. Dynamic: matrix products of whole
numbers, their activations rounded as they come, by ``onnxruntime.quantization``. Variants that
benchmarks/results/pareto.json holds for the same items are not tried again.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, command_line, machine, put_into_pages, table, write
from benchmarks.picking_table import read_sets
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.metrics import success_rate
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
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.files import read_sensor

RESULT = RESULTS / "pareto.json"
SAMPLES, TIMED = 64, 6
REFERENCE = "float32"


@dataclass(frozen=True)
class Variant:
    """A model in one form, sampled in one way."""

    bundle: Precision = "float32"
    dynamic: tuple[str, ...] = ()  # graphs whose matrix products are of whole numbers
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def folder(self, bundles: Path) -> Iterator[Path]:
        """Give the folder of its graphs, exported where it is not there."""
        if not is_bundle(bundles / self.bundle):
            request = probe_request(GraspRequest.of(read_sensor(ZOO / "example_view.npz", None, None)))
            model = load_grasp_model("leap_table")
            write_bundle(model, request, bundles / self.bundle, onnx=True, precision=self.bundle)
        if not self.dynamic:
            yield bundles / self.bundle
            return
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logging.disable(logging.WARNING)  # it advises to what exporters have done
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / self.bundle
            shutil.copytree(bundles / self.bundle, folder)
            for name in self.dynamic:
                path = folder / f"{name}.onnx"
                quantize_dynamic(path, path, weight_type=QuantType.QInt8)
            logging.disable(logging.NOTSET)
            yield folder


VARIANTS = {
    REFERENCE: Variant(),
    "int8 weights": Variant("int8"),
    "bf16 weights": Variant("bf16"),
    "float32, 8 steps": Variant(sampling={"steps": 8}),
    "float32, 4 steps": Variant(sampling={"steps": 4}),
    "int8 dynamic": Variant(dynamic=("encoder", "denoiser", "score")),
    "int8 weights, 8 steps": Variant("int8", sampling={"steps": 8}),
    "float32, 2 steps": Variant(sampling={"steps": 2}),
    "int8 dynamic, denoiser alone": Variant(dynamic=("denoiser",)),
}


def best_of(model: OnnxModel, variant: Variant, items: list[Item], hand: HandModel, workers: int) -> Any:
    """Return the verdicts of each item's best grasp."""
    method = ModelMethod(model=model, sampling=variant.sampling, seed=0)
    jobs = []
    for item in items:
        (proposal,) = method.sample_items([item], SAMPLES)
        jobs.append(
            (item.scene, item.target, proposal.grasps[np.argsort(-proposal.score, kind="stable")[:1]])
        )
    protocol = build(load_group("protocol", "scene-lift"))
    assert isinstance(protocol, Protocol)
    return evaluate_many(hand, jobs, protocol, LocalExecutor(workers=workers))


def milliseconds(models: dict[str, OnnxModel], items: list[Item]) -> dict[str, float]:
    """Return the processor time of a call of each, the variants in turn, so that what else runs falls on all."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    for item in items[:TIMED]:
        for name, model in models.items():
            method = ModelMethod(model=model, sampling=VARIANTS[name].sampling, seed=0)
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
    """Return rates, and what was gained and lost against the reference, item by item."""
    rows: dict[str, Any] = {}
    names = [name for set_name in found["picked"] for name in objects[set_name]]
    for key in ("picked_cleanly", "picked"):
        texts = ("".join(d[key][set_name] for set_name in found[key]) for d in (found, reference))
        own, other = (np.array([c == "1" for c in text]) for text in texts)
        rate = success_rate(own, names, seed=0, resamples=2000)
        difference = own.astype(float) - other
        error = 1.96 * difference.std(ddof=1) / len(own) ** 0.5
        rows["items"] = len(own)
        rows[key] = {
            "percent": round(100 * rate.value, 1),
            "wilson95": [round(100 * x, 1) for x in rate.wilson],
            "difference": round(100 * float(difference.mean()), 2),
            "difference95": round(100 * float(error), 2),
            "gained": int((own & ~other).sum()),
            "lost": int((other & ~own).sum()),
        }
    return rows


def page(document: dict[str, Any]) -> str:
    """Write what was measured as Markdown."""
    lines = []
    for name, found in document["variants"].items():
        cells = [f"{found['megabytes'][key]:.2f}" for key in ("weights_mb", "graphs_mb")]
        lines.append([name, *cells, f"{found['ms']:g}", str(found["compared"]["items"])])
        for key in ("picked_cleanly", "picked"):
            r = found["compared"][key]
            lines[-1] += [f"{r['percent']} {r['wilson95']}"]
            lines[-1] += [f"{r['difference']:+.1f} ± {r['difference95']:.1f} (+{r['gained']} -{r['lost']})"]
    against = "points against float32 (95 %; items gained, lost)"
    head = [
        "",
        "weights, MB",
        "graphs, MB",
        "64 grasps, ms",
        "items",
        "picked cleanly, %",
        against,
        "picked, %",
        against,
    ]
    about = f"{machine('cpu')}, one thread, processor time."
    return "\n\n".join([table(head, lines), about])


def main() -> None:
    """Measure, print and write."""
    parser = command_line(__doc__)
    parser.add_argument("--bundles", type=Path, required=True, help="folder of the bundles")
    parser.add_argument("--sets", nargs="+", required=True, help="name=store:split")
    parser.add_argument("--items", type=int, default=120, help="of each set")
    parser.add_argument("--per-object", type=int, default=4, help="items of one object at most")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    hand = Hand(load_hand("leap_right").description)
    items = read_sets(options, hand)
    document = json.loads(RESULT.read_text()) if RESULT.is_file() else {"objects": {}, "variants": {}}
    document["samples"] = SAMPLES
    for set_name, chosen in items.items():
        objects = [item.object.name for item in chosen]
        if document["objects"].setdefault(set_name, objects) != objects:
            raise ValueError(
                f"{RESULT} holds other items of {set_name}. Remove it, or ask for the same ones."
            )
    for name in options.variants:
        found = document["variants"].setdefault(name, {"picked_cleanly": {}, "picked": {}})
        with VARIANTS[name].folder(options.bundles) as folder:
            model = OnnxModel(folder, threads=1)
            for set_name, chosen in items.items():
                if set_name in found["picked"]:
                    continue
                verdicts = best_of(model, VARIANTS[name], chosen, HandModel.from_hand(hand), options.workers)
                for key in ("picked_cleanly", "picked"):
                    found[key][set_name] = "".join(str(int(v[key][0])) for v in verdicts)
            found["megabytes"] = megabytes(folder)
            if "ms" not in found:
                found["ms"] = milliseconds({name: model}, next(iter(items.values())))[name]
        found["compared"] = compared(found, document["variants"][REFERENCE], document["objects"])
        print(name, found["ms"], found["megabytes"], found["compared"], file=sys.stderr, flush=True)
        write(document, RESULT, seed=0)
    text = page(document)
    print(text)
    put_into_pages("export", "python -m benchmarks.pareto", text)


if __name__ == "__main__":
    main()
