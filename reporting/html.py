"""Self-contained HTML: a page, its tables, and cards with 3D views of drawings."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sceneleapultra.reporting.drawing import (
    COLLIDES,
    FAILURE,
    PENETRATION,
    SUCCESS,
    UNTESTED,
    ColoredMesh,
    Drawing,
    Replay,
    Rgb,
)
from sceneleapultra.reporting.pictures import table_top
from sceneleapultra.utils.core.files import write_text

_HERE = Path(__file__).parent
Ends = Literal["lifted", "held", "untried", "labels"]
_REJECTED = (PENETRATION, "rejected, too deep in object or itself")
TURNED = (  # how to turn a 3D view
    "Drag to turn; pinch, Ctrl and the wheel, or the wheel after a click to zoom; double-click to return. By the "
    "keyboard: arrows, + and -, Home."
)
# What the colors of hands mean where grasps were lifted, held, not tried, or only told apart as successes and failures.
_KEYS: dict[Ends, tuple[tuple[Rgb, str], ...]] = {
    "lifted": ((SUCCESS, "picked cleanly"), (FAILURE, "not picked, or not cleanly"), _REJECTED),
    "held": (
        (SUCCESS, "stable"),
        (COLLIDES, "stable, but in table or neighbor"),
        (FAILURE, "lost the object"),
        _REJECTED,
    ),
    "untried": ((UNTESTED, "not tried in simulation"),),
    "labels": ((SUCCESS, "success"), (FAILURE, "failure")),
}
_LAYERS = """
<p class="layers"><label><input type="checkbox" data-layer="hand" checked> hand</label>
<label><input type="checkbox" data-layer="object" checked> object</label>
<label><input type="checkbox" data-layer="neighbor" checked> neighbors</label>
<label><input type="checkbox" data-layer="cloud" checked> observed cloud</label></p>
"""


def write_page(title: str, body: Sequence[str], drawings: Sequence[Drawing], path: str | Path) -> Path:
    """Write a self-contained page, see :func:`render_page`, to an HTML file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(title, body, drawings))
    return path


def render_page(title: str, body: Sequence[str], drawings: Sequence[Drawing]) -> str:
    """Return a self-contained page whose ``canvas.view`` elements show the drawings they number.

    Its policy lets a browser run the viewer alone and load nothing: markup that a section forgot to escape stays dead.

    Args:
        title: of the page, its first heading; a text.
        body: what follows, as HTML; texts in it are escaped by who made it.
        drawings: what the views show.
    """
    viewer = (_HERE / "viewer.js").read_text()
    # A text in the drawings must not close the element that holds them.
    payload = (
        json.dumps(_payload(drawings), separators=(",", ":")).replace("<", "\\u003c") if drawings else ""
    )
    script = f'<script type="application/json" id="drawings">{payload}</script><script>{viewer}</script>'
    allowed = f"'sha256-{base64.b64encode(hashlib.sha256(viewer.encode()).digest()).decode()}'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
        f"<style>{(_HERE / 'report.css').read_text()}</style></head><body><h1>{escape(title)}</h1>{''.join(body)}"
        f"{script if drawings else ''}</body></html>"
    )


def legend(ends: Ends) -> str:
    """Return how 3D views are turned, what the colors of hands mean, and switches for what is shown.

    Args:
        ends: what became of the grasps that are shown.
    """
    keys = "\n".join(
        f'<span class="key"><i style="background:{_css(rgb)}"></i>{words}</span>'
        for rgb, words in _KEYS[ends]
    )
    return f'<p class="legend">{TURNED}\nHands:\n{keys}</p>{_LAYERS}'


def cards(drawings: Sequence[Drawing], first: int = 0) -> str:
    """Return a grid of 3D views; ``first`` is the number of the first drawing among those of its page."""
    views = "".join(_card(first + i, drawing) for i, drawing in enumerate(drawings))
    return f'<div class="cards">{views}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts; all columns but the first hold numbers."""
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    lines = []
    for first, *rest in rows:
        numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in rest)
        lines.append(f"<tr><td>{escape(first)}</td>{numbers}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _card(index: int, drawing: Drawing) -> str:
    hands = [mesh.rgb for mesh in drawing.meshes if mesh.role == "hand"]
    mark = _css(hands[0]) if hands else "#d8dee4"
    caption, detail = escape(drawing.caption), escape(drawing.detail)
    view = f'<canvas class="view" tabindex="0" role="img" aria-label="{caption}" data-drawing="{index}"></canvas>'
    return (
        f'<div class="card" style="--mark:{mark}">{view}'
        f"{_replay_controls(drawing)}<p>{caption}<br><small>{detail}</small></p></div>"
    )


def _replay_controls(drawing: Drawing) -> str:
    """Return a button that plays what happened, and a slider over it; the page's script moves the bodies."""
    if drawing.replay is None:
        return ""
    last = len(drawing.replay.poses) - 1
    return (
        '<div class="replay"><button type="button">replay</button>'
        f'<input type="range" aria-label="moment of the replay" min="0" max="{last}" value="0"></div>'
    )


def _css(rgb: Rgb) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


def _payload(drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Pack drawings for the viewer: integers of 0.1 mm, every array once."""
    assets: dict[str, dict[str, str]] = {}

    def keep(kind: str, values: np.ndarray) -> str:
        raw = values.tobytes()
        name = hashlib.sha256(raw).hexdigest()[:12]
        assets.setdefault(name, {"kind": kind, "data": base64.b64encode(raw).decode()})
        return name

    def points(values: np.ndarray) -> str:
        return keep("points", np.clip(np.round(values * 1e4), -32767, 32767).astype("<i2"))

    def pack(mesh: ColoredMesh) -> dict[str, Any]:
        packed = {
            "vertices": points(mesh.vertices),
            "faces": keep("faces", mesh.faces.astype("<u2")),
            "rgb": mesh.rgb,
            "role": mesh.role,
        }
        return {**packed, "frames": [points(frame) for frame in mesh.frames]} if mesh.frames else packed

    def pack_replay(replay: Replay | None) -> dict[str, Any] | None:
        if replay is None:
            return None
        # Lengths of 0.1 mm as points are; quaternions as shares of 32767.
        numbers = np.concatenate([replay.poses[..., :3] * 1e4, replay.poses[..., 3:] * 32767], axis=-1)
        return {
            "bodies": [pack(mesh) for mesh in replay.bodies],
            "poses": keep("poses", np.clip(np.round(numbers), -32767, 32767).astype("<i2")),
            "seconds": replay.seconds,
        }

    packed = [
        {
            "replay": pack_replay(drawing.replay),
            "meshes": [pack(mesh) for mesh in drawing.meshes],
            "clouds": [{"points": points(cloud.points), "rgb": cloud.rgb} for cloud in drawing.clouds],
            "table": drawing.table,
            "azimuth": drawing.azimuth_deg,
            "center": drawing.center,
            "width": drawing.width_m,
        }
        for drawing in drawings
    ]
    return {"assets": assets, "drawings": packed, "table": pack(table_top())}
