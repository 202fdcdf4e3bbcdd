"""How likely a grasp is to hold: a small network on finished grasps, trained on successes and failures of the simulator."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hands import GraspPose
from models.decoder.dit import GraspContext, SetDiT
from models.denoiser import Anchored, Denoiser, PairGeometry


class GraspScorer(nn.Module):
    """Gives each grasp the log-odds of passing its protocol; its gradients stay out of the generator.

    Args:
        denoiser: the generator whose tokens, codec and normaliser are used (not owned).
        dim: width.
        depth: blocks.
        heads: attention heads.
        dim_geometry: width of pair embeddings.
        geometry_scale: length that pair geometry is measured in (m).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        dim: int,
        depth: int,
        heads: int,
        dim_geometry: int,
        geometry_scale: float,
    ) -> None:
        super().__init__()
        self.decoder = SetDiT(
            dim_state=denoiser.codec.layout.dim,
            dim_scene=denoiser.encoder.dim,
            dim_geometry=dim_geometry,
            dim_out=1,
            dim=dim,
            depth=depth,
            heads=heads,
            set_attention=False,
        )
        self.geometry = PairGeometry(dim_geometry, geometry_scale)

    def forward(
        self,
        states: Float[Tensor, "b g d"],
        pose: GraspPose,
        point: Float[Tensor, "b g 3"],
        anchored: Anchored,
    ) -> Float[Tensor, "b g"]:
        """Return log-odds of success.

        Args:
            states: normalised states of the grasps.
            pose: the same grasps in the frame of the cloud.
            point: their reference points in front of the palm.
            anchored: the scene as seen from their anchors.
        """
        tokens = anchored.scene.tokens
        features = tokens.features.detach()
        context = GraspContext(
            keys_values=self.decoder.keys_values(features),
            geometry=anchored.context.geometry,
            anchor=anchored.context.anchor.detach(),
            token_valid=tokens.valid,
            grasp_valid=anchored.context.grasp_valid,
        )
        geometry = self.geometry(point, pose.rotation, tokens)
        t = torch.zeros(len(states), device=states.device)
        return self.decoder(states, t, geometry, context).squeeze(-1).float()
