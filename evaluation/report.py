"""What a person looks at after a test: one HTML file that needs nothing beside it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.evaluation.charts import curve, forest, outcome_bars, percent
from sceneleapultra.evaluation.drawing import Drawing, Rgb, Surface
from sceneleapultra.evaluation.pictures import table_top

_HERE = Path(__file__).parent
_DEFINITIONS = """
<b>Success</b>: the grasp held its object in every direction of the protocol. <b>And clear</b>: it also kept the hand
off the table and the neighboring objects. Brackets and thick bars: 95 % Wilson interval, which takes grasps as
independent; thin bars: 95 % interval over objects (whole objects drawn with replacement), wider because grasps of one
object fail together. <b>Penetration</b>: hand in object at the grasp. <b>Diversity</b>: spread of an item's grasps in
the frame of its object (standard deviation of the position, mean angle between pairs, standard deviation of the
joints), averaged over items. Grasps whose simulation diverged are no trials and are counted as not run.
"""


def write_report(
    document: Mapping[str, Any], sections: Mapping[str, Sequence[Drawing]], path: str | Path
) -> Path:
    """Write the report of a test.

    Args:
        document: what results.json holds: ``provenance``, ``methods``, ``tuning`` (None when nothing was tuned).
        sections: headings with the drawings below them, in order.
        path: the HTML file.
    """
    methods = document["methods"]
    splits = list(dict.fromkeys(entry["split"] for entry in methods))
    by_method: dict[str, dict[str, Any]] = {}
    for entry in methods:
        by_method.setdefault(entry["method"], {})[entry["split"]] = entry["summary"]
    given = {entry["method"]: entry["given"] for entry in methods}
    provenance = document["provenance"]
    body = [
        f"<h1>{escape(provenance['title'])}</h1>",
        f'<p class="lead">{escape(provenance["sentence"])}</p>',
        "<h2>Success on objects the model has never seen</h2>",
        _headline(by_method, splits, given),
        forest([(m, [_rate(s, x) for x in splits]) for m, s in by_method.items()], splits),
        f"<details><summary>What the numbers mean</summary><p>{_DEFINITIONS}</p></details>",
    ]
    drawings: list[Drawing] = []
    if any(sections.values()):
        body += ["<h2>Grasps to look at</h2>", _LAYERS]
    for heading, section in sections.items():
        shown_cards = [_card(len(drawings) + i, drawing) for i, drawing in enumerate(section)]
        drawings += section
        body += [f"<h3>{escape(heading)}</h3>", f'<div class="cards">{"".join(shown_cards)}</div>']
    body += [
        "<h2>Quality of the grasps</h2>",
        *(part for split in splits for part in (f"<h3>{escape(split)}</h3>", _quality(by_method, split))),
        "<h2>How the grasps ended</h2>",
    ]
    for split in splits:
        rows = [(m, s[split]["outcomes"]) for m, s in by_method.items() if split in s]
        body += [f"<h3>{escape(split)}</h3>", outcome_bars(rows)]
    body.append("<h2>By family of objects</h2>")
    for split in splits:
        shown = [m for m, s in by_method.items() if split in s and m in provenance["shown_by_family"]]
        names = sorted({f for m in shown for f in by_method[m][split]["families"]})
        rates = [(f, [by_method[m][split]["families"].get(f, {}) for m in shown]) for f in names]
        body += [f"<h3>{escape(split)}</h3>", forest(rates, shown)]
    if tuning := document["tuning"]:
        body += [
            "<h2>Temperature of the initial noise</h2>",
            f"<p>{escape(tuning['sentence'])}</p>",
            curve(
                tuning["curve"],
                x="temperature",
                chosen=tuning["temperature"],
                other="joint_spread_rad",
                other_label="spread of the joints, rad",
            ),
        ]
    body += ["<h2>How to get these numbers again</h2>", _provenance(provenance)]
    return write_page(provenance["title"], body, drawings, path)


def write_page(title: str, body: Sequence[str], drawings: Sequence[Drawing], path: str | Path) -> Path:
    """Write a self-contained page whose ``canvas.view`` elements show the drawings they number."""
    payload = json.dumps(_payload(drawings), separators=(",", ":")) if drawings else ""
    script = (
        f'<script type="application/json" id="drawings">{payload}</script>'
        f"<script>{(_HERE / 'viewer.js').read_text()}</script>"
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{(_HERE / 'report.css').read_text()}</style></head><body>{''.join(body)}"
        f"{script if drawings else ''}</body></html>"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


_LAYERS = """
<p class="legend">Drag to turn, shift-drag to zoom, double-click to come back. Hands:
<span class="key"><i style="background:#339e54"></i>held</span>
<span class="key"><i style="background:#8ca833"></i>held, but in table or neighbor</span>
<span class="key"><i style="background:#e06b21"></i>lost the object</span>
<span class="key"><i style="background:#c7292e"></i>rejected, too deep in object or itself</span></p>
<p class="layers"><label><input type="checkbox" data-layer="hand" checked> hand</label>
<label><input type="checkbox" data-layer="object" checked> object</label>
<label><input type="checkbox" data-layer="neighbor" checked> neighbors</label>
<label><input type="checkbox" data-layer="cloud" checked> the cloud that was seen</label></p>
"""


def _rate(summaries: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    return summaries[split]["success"] if split in summaries else {}


def _headline(by_method: Mapping[str, Any], splits: Sequence[str], given: Mapping[str, str]) -> str:
    head = "".join(f"<th>{escape(s)}: success</th><th>and clear</th>" for s in splits)
    rows = []
    for method, summaries in by_method.items():
        cells = []
        for split in splits:
            entry = summaries.get(split)
            for key in ("success", "success_and_clear"):
                cells.append(f'<td class="number">{percent(entry[key]) if entry else "-"}</td>')
        mark = ' class="tested"' if method.startswith("model") else ""
        name = f"{escape(method)}<small>given: {escape(given[method])}</small>"
        rows.append(f"<tr{mark}><td>{name}</td>{''.join(cells)}</tr>")
    return f"<table><tr><th>method</th>{head}</tr>{''.join(rows)}</table>"


def _quality(by_method: Mapping[str, Any], split: str) -> str:
    columns = (
        (
            "penetration mm (median)",
            lambda s: f"{_n(s['penetration_mm'])} ({_n(s['penetration_mm_median'])})",
        ),
        ("self-penetration mm", lambda s: _n(s["self_penetration_mm"])),
        ("links touching", lambda s: _n(s["contact_links"])),
        ("diversity: mm / ° / rad", lambda s: _spread(s["diversity"])),
        ("of successes", lambda s: _spread(s["diversity_of_successes"])),
        ("objects with a success", lambda s: _n(s["object_success"], 100.0, " %")),
        ("grasps / objects", lambda s: f"{s['num_grasps']} / {s['num_objects']}"),
        ("not run", lambda s: str(s["num_not_run"])),
    )
    head = "".join(f"<th>{name}</th>" for name, _ in columns)
    rows = [
        f"<tr><td>{escape(m)}</td>"
        + "".join(f'<td class="number">{f(s[split])}</td>' for _, f in columns)
        + "</tr>"
        for m, s in by_method.items()
        if split in s
    ]
    return f"<table><tr><th>method</th>{head}</tr>{''.join(rows)}</table>"


def _spread(values: Mapping[str, float | None]) -> str:
    return f"{_n(values['translation_mm'])} / {_n(values['rotation_deg'])} / {_n(values['joints_rad'], 1.0, '', 2)}"


def _n(value: float | None, scale: float = 1.0, unit: str = "", digits: int = 1) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}{unit}"


def _card(index: int, drawing: Drawing) -> str:
    hands = [surface.rgb for surface in drawing.surfaces if surface.role == "hand"]
    mark = _css(hands[0]) if hands else "#d8dee4"
    return (
        f'<div class="card" style="--mark:{mark}"><canvas class="view" data-drawing="{index}"></canvas>'
        f"<p>{escape(drawing.caption)}<br><small>{escape(drawing.detail)}</small></p></div>"
    )


def cards(drawings: Sequence[Drawing]) -> str:
    """Return the cards of a page's drawings, with the switches for their layers."""
    return _LAYERS + f'<div class="cards">{"".join(_card(i, d) for i, d in enumerate(drawings))}</div>'


def _provenance(provenance: Mapping[str, Any]) -> str:
    facts = {
        k: v for k, v in provenance.items() if k not in ("title", "sentence", "config", "shown_by_family")
    }
    rows = "".join(
        f"<tr><td>{escape(k)}</td><td><code>{escape(str(v))}</code></td></tr>" for k, v in facts.items()
    )
    config = escape(json.dumps(provenance["config"], indent=2))
    return f"<table>{rows}</table><details><summary>Configuration</summary><pre>{config}</pre></details>"


def _css(rgb: Rgb) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


def _payload(drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Pack drawings for the viewer: 0.1 mm integers, every array once."""
    assets: dict[str, dict[str, str]] = {}

    def keep(kind: str, values: np.ndarray) -> str:
        raw = values.tobytes()
        name = hashlib.sha256(raw).hexdigest()[:12]
        assets.setdefault(name, {"kind": kind, "data": base64.b64encode(raw).decode()})
        return name

    def points(values: np.ndarray) -> str:
        return keep("points", np.clip(np.round(values * 1e4), -32767, 32767).astype("<i2"))

    def surface(s: Surface) -> dict[str, Any]:
        return {
            "vertices": points(s.vertices),
            "faces": keep("faces", s.faces.astype("<u2")),
            "rgb": s.rgb,
            "role": s.role,
        }

    packed = [
        {
            "surfaces": [surface(s) for s in drawing.surfaces],
            "dots": [{"points": points(d.points), "rgb": d.rgb} for d in drawing.dots],
            "table": drawing.table,
            "azimuth": drawing.azimuth_deg,
            "center": drawing.center,
            "width": drawing.width_m,
        }
        for drawing in drawings
    ]
    return {"assets": assets, "drawings": packed, "table": surface(table_top())}
