"""Which folder a run writes to, and what lies in it: one folder per run under any launcher."""

import hashlib
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra import __version__
from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.console import is_first_process
from sceneleapultra.utils.core.files import read_json_object, write_json, write_text
from sceneleapultra.utils.core.locks import owned_folder, refuse_if_held
from sceneleapultra.utils.core.plain_data import read_yaml
from sceneleapultra.utils.core.torch_files import damage_of, read_torch

_log = logging.getLogger(__name__)
PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
VERSIONED = ("torch", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "mujoco", "h5py", "trimesh")

_IN_USE = "Wait until it is done, stop it, or choose another run_dir"

# What may differ between the two halves of a resumed run without making it another run.
RESUMABLE = (
    "trainer",
    "callbacks",
    "logger",
    "hardware",
    "paths",
    "optimizer",
    "learning_rates",
    "scheduler",
    "name",
    "run_dir",
)
_LOADING = ("workers", "prefetch", "cache_mb", "staging", "max_bad_fraction", "quarantine")
RESUMABLE_KEYS = ("statistics", *(f"data.loading.{key}" for key in _LOADING))


def run_id(environ: Mapping[str, str], now: datetime) -> str:
    """Name this launch: the same in every process of it, another for every other launch.

    A clock alone splits the folder when the ranks of ``torchrun`` start a second apart, so the launcher's own identity
    comes first.

    Raises:
        ValueError: torchrun without an identity (several nodes, no ``--rdzv-id``).
    """
    if job := environ.get("SLURM_JOB_ID"):
        return f"slurm-{job}"
    if elastic := environ.get("TORCHELASTIC_RUN_ID"):
        if elastic == "none":
            raise ValueError(
                "torchrun gave this launch no identity (TORCHELASTIC_RUN_ID=none), so its processes cannot agree on "
                "one run folder. Pass torchrun --rdzv-id=<name>, the same on every node, or run_dir=<folder>."
            )
        return f"torchrun-{elastic}"
    return now.strftime("%Y-%m-%d_%H-%M-%S")


def owned(cfg: DictConfig) -> AbstractContextManager[None]:
    """Keep other trainings out of the folder that this process writes to, if it writes to one.

    Raises:
        ValueError: another one is in it.
    """
    if cfg.dry_run or not is_first_process():
        return nullcontext()
    return owned_folder(Path(cfg.run_dir), doing="training", remedy=_IN_USE)


def refuse_if_in_use(cfg: DictConfig) -> None:
    """Look whether another training is in the folder that this process writes to, before anything is made.

    Raises:
        ValueError: there is one.
    """
    if is_first_process() and not cfg.dry_run:
        refuse_if_held(Path(cfg.run_dir), remedy=_IN_USE)


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoints of a run from which the same command can continue: the last, and the one before."""
    last = run_dir / "checkpoints" / "last.ckpt"
    return [path for path in (last, previous(last)) if path.is_file()]


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}-1{path.suffix}")


def last_checkpoint(run_dir: Path) -> Path | None:
    """Return the checkpoint from which the same command continues, if there is one.

    Where the last one is damaged or missing, it is the one before, and this is said.

    Raises:
        ValueError: none is undamaged.
    """
    reasons = []
    for path in checkpoints(run_dir):
        if (reason := damage_of(path)) is not None:
            reasons.append(f"{path} cannot be read: {reason}.")
            continue
        if path.stem != "last":
            missing = f"{path.with_stem('last')} is missing."
            _log.warning(
                " ".join([*(reasons or [missing]), f"Continuing from the checkpoint before it, {path}."])
            )
        return path
    if reasons:
        raise ValueError(
            f"{' '.join(reasons)} The run cannot be continued. Start another one from its best weights with "
            f"run_dir=<a new folder> init_from={run_dir}/checkpoints/best.ckpt."
        )
    return None


def resumed_step(checkpoint: Path | None, max_steps: int) -> int:
    """Return the optimizer step from which training continues; 0 without a checkpoint.

    Raises:
        ValueError: the checkpoint is further than training is to go, damaged, or another program's.
    """
    step = step_of(checkpoint)
    if 0 <= max_steps < step:
        raise ValueError(
            f"trainer.max_steps={max_steps}: {checkpoint} is already at step {step}. Pass more steps, or another "
            "run_dir."
        )
    return step


def continued_by(run_dir: str, overrides: list[str]) -> str:
    """Say which command continues a run: the default of ``run_dir`` is another folder at every start."""
    named = any(word.startswith("run_dir=") for word in overrides)
    return "the same command" if named else f"the same command with run_dir={run_dir}"


def step_of(checkpoint: Path | None) -> int:
    """Return the optimizer step at which a checkpoint was written; 0 without one.

    Raises:
        ValueError: it is damaged, or another program's.
    """
    if checkpoint is None:
        return 0
    content = read_torch(checkpoint, mapped=True)
    if not isinstance(content, dict) or not isinstance(content.get("global_step"), int):
        raise ValueError(
            f"{checkpoint} is no checkpoint of a training: it has no 'global_step'. Was it written by "
            "train_lightning.py?"
        )
    return int(content["global_step"])


def git_state(root: Path = PROJECT_ROOT) -> tuple[str, str]:
    """Return commit and uncommitted difference; the version and "" where ``root`` is no checkout's root.

    An installed package may lie inside another project's checkout, whose commit says nothing about it.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
        return done.stdout.decode(errors="surrogateescape")  # a change need not be UTF-8; its bytes are kept

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).samefile(root):
            return git("rev-parse", "HEAD").strip(), git("diff", "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pass
    return f"v{__version__}", ""


def code_state(commit: str, difference: str) -> str:
    """Name code by its commit, and by what of it is not committed."""
    if not difference:
        return commit
    digest = hashlib.sha256(difference.encode(errors="surrogateescape")).hexdigest()
    return f"{commit} + uncommitted changes ({digest[:8]})"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a number."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONED}


def changed_keys(old: DictConfig, new: DictConfig) -> list[str]:
    """List ``key: old -> new`` for every leaf that differs between two configurations."""
    return differences(_plain(old), _plain(new), "{key}: {old} -> {new}")


def write_run_folder(cfg: DictConfig, overrides: list[str]) -> list[str]:
    """Write what reproduces the run beside its results; return what changed since the folder was last used.

    Files: config.yaml (resolved), overrides.yaml, git.txt (commit and difference), versions.json, command.txt.

    Raises:
        ValueError: the folder holds a checkpoint of a run that this configuration does not continue.
    """
    run_dir = Path(cfg.run_dir)
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(resolved, DictConfig)
    config_file = run_dir / "config.yaml"
    changes: list[str] = []
    if checkpoints(run_dir) and config_file.is_file():
        saved = OmegaConf.create(read_yaml(config_file))
        changes = changed_keys(without_home(saved), without_home(resolved))
        keys = [line.split(":")[0] for line in changes]
        foreign = [
            line
            for key, line in zip(keys, changes, strict=True)
            if key.split(".")[0] not in RESUMABLE and key not in RESUMABLE_KEYS
        ]
        if foreign:
            cut = f" Or was {config_file} cut off?" if all(": absent -> " in line for line in foreign) else ""
            raise ValueError(
                f"run_dir={run_dir} holds a run with another configuration, so this command cannot continue it. "
                f"Different: {'; '.join(foreign[:8])}. Repeat the first command's overrides, or choose another "
                f"run_dir.{cut}"
            )
    run_dir.mkdir(parents=True, exist_ok=True)
    commit, difference = git_state()
    write_text(config_file, OmegaConf.to_yaml(resolved))
    write_text(run_dir / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))
    write_text(run_dir / "git.txt", f"{commit}\n{difference}", mode=0o600)  # a difference may hold a secret
    write_json(run_dir / "versions.json", versions(), indent=2)
    with (run_dir / "command.txt").open("a") as file:
        file.write(" ".join(["python", *sys.argv]) + "\n")
    return changes


def check_same_data(run_dir: Path, frame: str, data_hash: str, *, write: bool) -> None:
    """Write which data the run is trained on into ``data.json``, or check that it is still the same.

    Raises:
        ValueError: the folder's checkpoint was trained on other data.
    """
    path = run_dir / "data.json"
    now = {"frame": frame, "data_hash": data_hash}
    if checkpoints(run_dir) and path.is_file():
        remedy = "Remove it, and make sure that data.store is what the run was trained on."
        before = read_json_object(path, remedy)
        if before.keys() != now.keys():
            raise ValueError(
                f"{path}: expected {', '.join(now)}, got {', '.join(before) or 'nothing'}. {remedy}"
            )
        if before != now:
            raise ValueError(
                f"The run in {run_dir} was trained on data {str(before['data_hash'])[:12]} in frame "
                f"{before['frame']}; data.store now holds {data_hash[:12]} in frame {frame}. Restore the store, or "
                "take another run_dir."
            )
    if write:
        write_json(path, now, indent=2)


def without_home(cfg: DictConfig) -> DictConfig:
    """Return a run's configuration without where its folder lies, which is no part of the run."""
    home = str(OmegaConf.select(cfg, "run_dir"))

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: moved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [moved(value) for value in node]
        inside = isinstance(node, str) and (node == home or node.startswith(f"{home}/"))
        return f"<run_dir>{node[len(home) :]}" if inside else node

    return OmegaConf.create(moved(OmegaConf.to_container(cfg)))


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def current_run_id() -> str:
    """Return this process's run id; a clock is read once and handed to child processes through the environment."""
    key = "SCENELEAPULTRA_RUN_ID"
    if key not in os.environ:
        os.environ[key] = run_id(os.environ, datetime.now())
    return os.environ[key]
