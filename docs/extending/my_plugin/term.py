"""A loss term: predicted joints near zero."""

from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.models.objectives.context import PredictionContext
from sceneleapultra.models.objectives.term import GraspTerm

Values = tuple[Float[Tensor, "b g"], Bool[Tensor, "b g"]]


class RestPose(GraspTerm):
    """Mean squared joint of the predicted hand (rad^2)."""

    needs = ("joints_hat", "counted")

    def values(self, context: PredictionContext) -> Values:  # type: ignore[override]
        """Return the value of each grasp, and which grasps count."""
        return context.joints_hat.square().mean(-1), context.counted
