"""What ``experiment=grasp_vae`` trains: an autoencoder of grasp states, in whose codes grasps are then denoised."""

from pathlib import Path

from sceneleapultra.models.checkpoints.load import load_trained
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.representation import PoseRepresentation

EXPERIMENT = "grasp_vae"


class GraspVAE(GraspSpace):
    """States of single grasps as codes; the scene says where a grasp is anchored, and no more.

    Args:
        hand: name of the hand.
        encoder: whose tokens are the anchors; nothing is learned of what they look like.
        representation: what a state's pose is relative to, and the sizes of the autoencoder.

    Raises:
        ValueError: no autoencoder.
    """

    contact_points = None

    def __init__(self, *, hand: str, encoder: SceneEncoder, representation: PoseRepresentation) -> None:
        super().__init__(hand=hand, representation=representation, of_palm=False, codes=False)
        if representation.autoencoder is None:
            raise ValueError(
                "model.generator.representation.autoencoder=null leaves nothing to train. Pass "
                "model/generator/autoencoder=mlp."
            )
        self.encoder = encoder.requires_grad_(False)
        self.vae = representation.autoencoder.build(self.dim_clean)
        self.dim_input = self.vae.code
        self.drop_prob: dict[str, float] = {}

    def tokens(self, cloud: Cloud) -> SceneTokens:
        """Return where grasps may be anchored."""
        return self.encoder(cloud)


def load_grasp_vae(path: str | Path) -> GraspVAE:
    """Return the autoencoder of a checkpoint, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a checkpoint of something else, or its numbers are not finite, or its hand is described differently
            now.
    """
    return load_trained(path, GraspVAE, EXPERIMENT)[0]
