"""Terms over the predicted state and the heads: the errors of the pose groups, and what each head learns."""

from typing import Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.models.objectives.context import PredictionContext, StepContext
from sceneleapultra.models.objectives.term import GraspTerm, LossTerm, Weight
from sceneleapultra.utils.core.names import unknown_name

Group = Literal["translation", "joints", "rotation", "squeeze", "code"]


class StateError(GraspTerm):
    """Squared error of one pose group of the clean state, weighted by noise level.

    Args:
        group: translation, joints, rotation or squeeze; code of a model that denoises the codes of an autoencoder.
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
    """

    needs = ("state_error", "counted")

    def __init__(self, *, group: Group, weight: Weight) -> None:
        super().__init__(weight=weight)
        if group not in get_args(Group):
            raise unknown_name("group", group, get_args(Group))
        self.group = group

    def values(self, context: PredictionContext) -> tuple[Float[Tensor, "b g"], Bool[Tensor, "b g"]]:  # type: ignore[override]
        """Return the mean over the group's numbers.

        Raises:
            ValueError: the model denoises others.
        """
        if self.group not in context.state_error:
            raise ValueError(
                f"model.objective.terms: a StateError of group={self.group}, but the model denoises "
                f"{', '.join(context.state_error)}. Codes go with model=grasp_latent, states with "
                "model/generator/autoencoder=none."
            )
        return context.state_error[self.group].mean(-1), context.counted


class HeadLoss(LossTerm):
    """What a head of the generator learns.

    Args:
        head: name of the head.
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
    """

    needs = ("scene", "grasps", "positive")

    def __init__(self, *, head: str, weight: Weight) -> None:
        super().__init__(weight=weight)
        self.head = head

    def __call__(self, context: StepContext) -> Float[Tensor, ""]:
        """Return the head's loss.

        Raises:
            ValueError: the generator has no such head, or the batch none of its labels.
        """
        heads = context.generator.heads
        if self.head not in heads:
            raise unknown_name("model.generator.heads", self.head, list(heads))
        head = heads[self.head]
        for label in head.labels:
            if getattr(context.batch, label, None) is None:
                raise ValueError(
                    f"model.generator.heads.{self.head} learns from {label}, which the data have not. Switch it off "
                    f"with model.objective.terms.{self.head}.weight=0, or pass data with these labels."
                )
        return head.loss(context)
