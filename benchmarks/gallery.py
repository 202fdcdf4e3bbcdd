"""The pictures of docs/gallery.md, made again, with what made each of them written below it in both languages.

    python -m benchmarks.gallery
    python -m benchmarks.gallery families tokens --seed 3
    python -m benchmarks.gallery completion --completion runs/completion/checkpoints/best.ckpt
    python -m benchmarks.gallery hypotheses --completion runs/completion_consistency/checkpoints/best.ckpt

The last two need a checkpoint, which is not shipped, and are made only where they are named.
Everything is drawn by the project's own renderer, which needs no graphics system. A grasp is shown as its simulation by
scene-lift ended: a green hand picked its object, an orange one did not, and a red one was in the object or in itself.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common import ROOT, command_line
from benchmarks.gallery_pictures import PICTURES, Making
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import Hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.reporting.drawing import Drawing
from sceneleapultra.reporting.pictures import Viewpoint, render

FOLDER = ROOT / "docs" / "pictures" / "gallery"
PAGES = tuple(ROOT / "docs" / name for name in ("gallery.md", "gallery.zh.md"))
COLUMNS, PANEL, STRIP = (
    3,
    (560, 420),
    40,
)  # panels side by side; their size, and the height of a caption (pixels)
ELEVATION_DEG, MARGIN = 22.0, 1.12
MODEL = "leap_table"
COMPLETIONS = {
    "completion": 1,
    "hypotheses": 8,
}  # pictures of a completion, and of how many of its hypotheses


def framed(drawing: Drawing) -> Viewpoint:
    """Return a viewpoint that shows the hand, the target, and the table below it; a drawing's own where neither is."""
    view = Viewpoint(drawing.azimuth_deg, ELEVATION_DEG, 1.0, (0.0, 0.0, 0.0))
    shown = [mesh.vertices for mesh in drawing.meshes if mesh.role in ("hand", "object")]
    if not shown:
        return replace(view, width=drawing.width_m, center=drawing.center)
    if drawing.table:  # what is in the air is seen above the table
        shown += [mesh.vertices * (1.0, 1.0, 0.0) for mesh in drawing.meshes if mesh.role == "object"]
    projected = np.concatenate(shown) @ view.axes().T
    low, high = projected.min(0), projected.max(0)
    width = max(high[0] - low[0], (high[1] - low[1]) * PANEL[0] / PANEL[1])
    x, y, z = ((low + high) / 2 @ view.axes()).tolist()
    return Viewpoint(drawing.azimuth_deg, ELEVATION_DEG, float(MARGIN * width), (x, y, z))


def sheet(drawings: Sequence[Drawing]) -> bytes:
    """Return drawings side by side, each with its caption, as a WebP file."""
    rows = -(-len(drawings) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * PANEL[0], rows * (PANEL[1] + STRIP)), "white")
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 22)
    for number, drawing in enumerate(drawings):
        row, column = divmod(number, COLUMNS)
        corner = column * PANEL[0], row * (PANEL[1] + STRIP)
        pixels = np.round(255 * render(drawing, PANEL, framed(drawing))).astype(np.uint8)
        page.paste(Image.fromarray(pixels), corner)
        middle = corner[0] + PANEL[0] // 2, corner[1] + PANEL[1] + STRIP // 2
        ImageDraw.Draw(page).text(middle, drawing.caption, "#333333", font, anchor="mm")
    file = io.BytesIO()
    page.save(file, "WEBP", quality=80, method=6)
    return file.getvalue()


def note(words: str, seed: int, model: str, picture: bytes) -> str:
    """Return what stands below a picture: how it is made again, and what it is."""
    digest = hashlib.sha256(picture).hexdigest()[:12]
    return f"`python -m benchmarks.gallery {words}` · seed {seed} · {model} · sha256 `{digest}`"


def annotate(page: str, name: str, line: str) -> str:
    """Put a line below the picture of this name, in place of the one that stands there.

    Raises:
        ValueError: the page does not show the picture.
    """
    pattern = rf"(!\[[^\]]*\]\(pictures/gallery/{name}\.webp\)\n\n)`python -m benchmarks\.gallery [^\n]*"
    text, count = re.subn(pattern, lambda found: found[1] + line, page)
    if count != 1:
        raise ValueError(
            f"Expected one picture gallery/{name}.webp on the page with a line of its command below it, found {count}."
        )
    return text


def main() -> None:
    """Draw what is asked for, and write it with its notes."""
    parser = command_line(__doc__)
    parser.add_argument("pictures", nargs="*", help=f"of {', '.join(PICTURES)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--completion", help="checkpoint of scene completion")
    options = parser.parse_args()
    if unknown := set(options.pictures) - set(PICTURES):
        parser.error(f"there is no picture {', '.join(sorted(unknown))}: expected {', '.join(PICTURES)}")
    for name in options.pictures or [name for name in PICTURES if name not in COMPLETIONS]:
        words, shown, path, model = f"{name} --seed {options.seed}", MODEL, MODEL, load_grasp_model(MODEL)
        if name in COMPLETIONS:
            if options.completion is None:
                parser.error(f"{name}: expected --completion, a checkpoint as docs/completion.md trains it")
            words, shown, path = (
                f"{words} --completion {options.completion}",
                "completion",
                options.completion,
            )
            model = load_grasp_model(MODEL, completion=path, hypotheses=COMPLETIONS[name])
        picture = sheet(PICTURES[name](Making(model, Hand(model.hand.description), options.seed)))
        line = note(words, options.seed, f"{shown} `{file_hash(find_checkpoint(path))}`", picture)
        texts = {page: annotate(page.read_text(), name, line) for page in PAGES}
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{name}.webp").write_bytes(picture)
        for page, text in texts.items():
            page.write_text(text)
        print(f"{name}: {len(picture) / 1e3:.0f} kB, {line}", flush=True)


if __name__ == "__main__":
    main()
