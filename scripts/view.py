"""Look at a data set, the results of a test, or predicted grasps, in 3D in a browser.

python scripts/view.py data/quick.h5
python scripts/view.py runs/quickstart/tests/2026-11-29_10-00-00-1a2b3c4d/results.json
python scripts/view.py predicted

Shows each item with its cloud, objects and grasps, the best first; a model's sampling step by step; the trial of a
grasp moment by moment, with contacts and forces; two methods beside each other. It listens to this machine alone; from
another one: ssh -L 8080:127.0.0.1:8080 <this machine>. See docs/viewing.md.
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from importlib.util import find_spec

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import card


def view(
    path: str,
    *,
    store: str | None = None,
    hand: str | None = None,
    checkpoint: str | None = None,
    protocol: str | None = None,
    port: int = 8080,
) -> None:
    """Open a file and show it until Ctrl-C.

    Args:
        path: a data set; results.json, a page or the folder of a test; grasps.npz or the folder of a prediction
        store: the data set that results were measured on, if it is no longer where they say
        hand: name or model file of the hand; by default the one the file names
        checkpoint: the model that samples step by step; by default that of the test, else a shipped one
        protocol: by which grasps of a data set are tried again; by default its own
        port: 0 for a free one

    Raises:
        FileNotFoundError: nothing there.
        ValueError: nothing that can be looked at.
    """
    if find_spec("viser") is None:
        raise ValueError("viser: not installed. Run: python -m pip install 'sceneleapultra[view]'")

    from sceneleapultra.evaluation.viewer.browser import Browser
    from sceneleapultra.evaluation.viewer.opening import open_catalog
    from sceneleapultra.evaluation.viewer.stage import Stage

    catalog = open_catalog(path, store=store, hand=hand, checkpoint=checkpoint, protocol=protocol)
    stage = Stage(port, catalog.title)
    Browser(stage, catalog)
    card(catalog.title, {"items": len(catalog), "view": stage.url, "end": "Ctrl-C"})
    stage.server.sleep_forever()


def main() -> None:
    """Show what the command line names."""
    cli.run(view, __doc__)


if __name__ == "__main__":
    main()
