"""Where a checkpoint lies that is given by path, or by the name of a shipped model."""

from pathlib import Path

from sceneleapultra.models.bundle.manifest import is_bundle
from sceneleapultra.models.registry.places import PREFIX, checkpoint_of
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.names import unknown_name

ZOO = CONFIG_DIR.parent / "model_zoo"
FORMER_NAMES = {"leap_table_own": "leap_table"}  # until 0.1


def shipped_models() -> list[str]:
    """List the names of the models that come with the project."""
    return sorted(path.parent.name for path in ZOO.glob("*/model.ckpt"))


def find_checkpoint(source: str | Path) -> Path:
    """Return the file of a checkpoint.

    Args:
        source: path of a checkpoint or of a bundle's folder, the name of a shipped model, such as ``leap_table``, or
            ``registry:<model>@<alias or number>``.

    Raises:
        FileNotFoundError: it is written like a path, and there is no such file.
        ValueError: it is written like a name, and no model is shipped, or registered, under it.
    """
    if str(source).startswith(PREFIX):
        return checkpoint_of(str(source))
    path = Path(source)
    if path.is_file() or is_bundle(path):
        return path
    name = FORMER_NAMES.get(str(source), str(source))
    if name in shipped_models():
        return ZOO / name / "model.ckpt"
    if path.suffix or len(path.parts) != 1:
        raise FileNotFoundError(
            f"No checkpoint at {path}. Train one with train_lightning.py, or name a shipped model: "
            f"{', '.join(shipped_models())}."
        )
    raise unknown_name("model", str(source), shipped_models())
