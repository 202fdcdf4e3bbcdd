"""How likely a grasp is to hold: a small network on finished grasps, trained on successes and failures of
the simulator.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hands import GraspPose, Hand
from models.contacts import ContactFeatures
from models.decoder.base import GraspContext
from models.decoder.dit import SetDiT
from models.denoiser import Denoiser, PairGeometry
from models.tokens import SceneTokens
from utils.points import gather


class GraspScorer(nn.Module):
    """Gives each grasp the log-odds of passing its protocol; its gradients stay out of the generator.

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
            dim_out=1,
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
        tokens: SceneTokens,
        index: Int[Tensor, "b g"],
    ) -> Float[Tensor, "b g"]:
        """Return log-odds of success.

        Args:
            states: normalised states of the grasps.
            pose: the same grasps in the frame of the cloud.
            point: reference point in front of each palm, in the frame of the cloud.
            tokens: the encoded scene.
            index: token that each grasp is anchored at.
        """
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
        return (
            self.decoder(states, t, context.geometry, self.contacts(pose, tokens), context)
            .squeeze(-1)
            .float()
        )
