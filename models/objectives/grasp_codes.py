"""Where the codes that ``experiment=grasp_latent`` denoises come from: an autoencoder of grasps."""

from sceneleapultra.models.checkpoints.weights import fill
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_vae import load_grasp_vae


def take_codes(generator: GraspGenerator, path: str) -> str:
    """Copy an autoencoder's weights, and the statistics of the states that it reads; it stays as it is.

    Args:
        generator: of codes.
        path: checkpoint of the autoencoder.

    Returns:
        Coordinate mode of the data that it learned from.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a generator of states, or an autoencoder of another size, hand or representation.
    """
    source = f"model.objective.vae={path}"
    if generator.autoencoder is None or generator.scaling is None:
        raise ValueError(
            f"{source} makes codes of grasps, model.generator.representation.autoencoder=null denoises states. Pass "
            "model=grasp_latent, or model.objective.vae=null."
        )
    vae = load_grasp_vae(path)
    if vae.hand.table_hash != generator.hand.table_hash:
        raise ValueError(
            f"{source} encodes grasps of hand={vae.hand.name}, model.generator.hand={generator.hand.name}. Pass "
            f"hand={vae.hand.name}, or train another with: python train_lightning.py experiment=grasp_vae "
            f"hand={generator.hand.name}"
        )
    for key in ("anchored", "reference_depth"):
        there, here = (getattr(m.representation, key) for m in (vae, generator))
        if there != here:
            raise ValueError(
                f"{source} encodes states of representation.{key}={there}, model.generator.representation.{key}="
                f"{here}. Pass model.generator.representation.{key}={str(there).lower()}, or train another "
                "autoencoder."
            )
    sizes = "the sizes in model.generator.representation.autoencoder"
    fill(generator.autoencoder, vae.vae.state_dict(), source, sizes)
    for name in ("mean", "std", "fitted"):
        getattr(generator.scaling, name).copy_(getattr(vae.normalizer, name))
    return vae.normalizer.frame
