"""How likely a grasp is to succeed: a small network on finished grasps, trained on verdicts of the simulator.

Success has two parts that fail for different reasons and are learned apart: the grasp holds the object, and the hand
is clear of table and neighbours.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hands import GraspPose, Hand
from models.contacts import ContactFeatures
from models.decoder.base import GraspContext
from models.decoder.dit import SetDiT
from models.denoiser import Denoiser, PairGeometry, SceneContext
from utils.points import gather


class GraspScorer(nn.Module):
    """Gives each grasp the log-odds of holding and of being clear; its gradients stay out of the generator.

    Args:
        hand: the hand whose grasps are scored.
        denoiser: the generator whose tokens, codec and normaliser are used (not owned).
        dim: width.
        depth: blocks.
        heads: attention heads.
        dim_geometry: width of pair embeddings.
        geometry_scale: length that pair geometry is measured in (m).
        contact_scale: length that distances of links to the surface are measured in (m).
    """

    def __init__(
        self,
        hand: Hand,
        denoiser: Denoiser,
        *,
        dim: int,
        depth: int,
        heads: int,
        dim_geometry: int,
        geometry_scale: float,
        contact_scale: float,
    ) -> None:
        super().__init__()
        self.decoder = SetDiT(
            dim_state=denoiser.codec.layout.dim,
            dim_scene=denoiser.encoder.dim,
            dim_geometry=dim_geometry,
            dim_out=2,
            dim_prompt=None,
            dim=dim,
            depth=depth,
            heads=heads,
            set_attention=False,
            attention="sdpa",
            checkpointing=False,
        )
        self.geometry = PairGeometry(dim_geometry, geometry_scale)
        self.contacts = ContactFeatures(hand, dim=dim, scale=contact_scale)

    def forward(
        self,
        states: Float[Tensor, "b g d"],
        pose: GraspPose,
        point: Float[Tensor, "b g 3"],
        scene: SceneContext,
        index: Int[Tensor, "b g"],
    ) -> Float[Tensor, "b g 2"]:
        """Return log-odds of holding and of being clear of the scene.

        Args:
            states: normalised states of the grasps.
            pose: the same grasps in the frame of the cloud.
            point: reference point in front of each palm, in the frame of the cloud.
            scene: the encoded scene.
            index: token that each grasp is anchored at.
        """
        tokens = scene.tokens
        features = tokens.features.detach()
        context = GraspContext(
            keys_values=self.decoder.keys_values(features),
            geometry=self.geometry(point, pose.rotation, tokens),
            anchor=gather(features, index),
            token_valid=tokens.valid,
            together=torch.zeros_like(index),
            prompt=None,
            prompt_valid=None,
        )
        t = torch.zeros(len(states), device=states.device)
        return self.decoder(states, t, context.geometry, self.contacts(pose, scene.surface), context).float()


def success_log_odds(parts: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Return the log-odds that a grasp both holds and is clear, the two taken as independent."""
    log_p = nn.functional.logsigmoid(parts).sum(-1).clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))
