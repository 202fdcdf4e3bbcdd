"""The page at ``/``: the last grasps in 3D, each with its cloud."""

import time
from collections import deque
from dataclasses import dataclass, replace
from html import escape

from sceneleapultra.hands import Hand
from sceneleapultra.models.bundle.probe import probe_request
from sceneleapultra.reporting.drawing import Drawing
from sceneleapultra.reporting.html import cards, legend, render_page
from sceneleapultra.reporting.requests import draw_request
from sceneleapultra.serving.answer import ServedGrasps
from sceneleapultra.utils.requests import GraspRequest

_KEPT, _SHOWN = 4, 6  # answers, and grasps of each


@dataclass(frozen=True)
class _Answered:
    request: GraspRequest  # its object's surroundings, thinned
    served: ServedGrasps
    request_id: str
    at: float


class LastGrasps:
    """Remembers what was answered last, and draws it when somebody wants to see it."""

    def __init__(self) -> None:
        self._answers: deque[_Answered] = deque(maxlen=_KEPT)

    def add(self, request: GraspRequest, served: ServedGrasps, request_id: str) -> None:
        """Remember an answer."""
        near = replace(probe_request(request), table=request.table)
        self._answers.appendleft(_Answered(near, served, request_id, time.time()))

    def page(self, title: str, hand: Hand) -> str:
        """Return the page.

        Args:
            title: its heading.
            hand: that grasps, on the processor.
        """
        drawings: list[Drawing] = []
        body = (
            [legend("untried")]
            if self._answers
            else ["<p>No grasps yet. Reload this page after a request.</p>"]
        )
        for one in list(self._answers):
            grasps = one.served.grasps
            shown = range(min(_SHOWN, len(grasps)))
            details = [f"{grasps.describe(i)}, way {_way(one.served, i)}" for i in shown]
            drawn = draw_request(one.request, hand, grasps.hand_pose, details)
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at))
            remarks = "".join(f"<p>{escape(text)}</p>" for text in (*one.served.notes, *grasps.warnings))
            body += [f"<h2>{at}, request {escape(one.request_id)}</h2>{remarks}", cards(drawn, len(drawings))]
            drawings += drawn
        return render_page(title, body, drawings)


def _way(served: ServedGrasps, i: int) -> str:
    return "free" if served.free[i] else "not free"
