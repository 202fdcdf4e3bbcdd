"""How a training becomes a job of SLURM, which goes on after a pre-emption and after its time limit."""

import re
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.utils.clusters.job import cancel_command, job_script, state_of, submit
from sceneleapultra.utils.clusters.slurm import SlurmExecutor
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.console import card, print_script, shown
from sceneleapultra.utils.core.files import make_folder, write_text

# {key of hardware: the option of sbatch that decides it}
_DECIDED = {"num_nodes": "nodes", "devices": "ntasks-per-node"}


def run_as_job(cfg: DictConfig, overrides: list[str]) -> bool:
    """Submit a training where ``launcher=slurm`` asks for it; return whether that was done.

    Raises:
        FileNotFoundError: there is no SLURM here.
        ValueError: a launcher that runs no training, a run that is in the queue already, or what SLURM refuses.
    """
    if OmegaConf.select(cfg, "launcher") is None:
        return False
    target = str(cfg.launcher._target_)
    if target != f"{SlurmExecutor.__module__}.{SlurmExecutor.__qualname__}":
        raise ValueError(
            f"launcher ({target.rpartition('.')[2]}) runs independent tasks, which a training is not. Leave it out to "
            "train here, start several processes by hardware.devices or torchrun, or pass launcher=slurm."
        )
    executor: SlurmExecutor = build(cfg.launcher)
    run_dir = Path(cfg.run_dir).absolute()
    counts = {option: executor.options.get(option) or 1 for option in _DECIDED.values()}
    options = {"output": str(run_dir / "slurm-%j.txt"), **executor.options, **counts}
    command = [
        "-m",
        "sceneleapultra",
        "train",
        *_words(overrides, counts),
        f"run_dir={run_dir}",
    ]
    script = job_script(options, executor.setup, command, array=None)
    if cfg.dry_run:
        print_script(script)
        return True
    noted = run_dir / "slurm_job.txt"
    if noted.is_file() and (state := state_of(job := noted.read_text().strip())) is not None:
        raise ValueError(
            f"{cfg.run_dir} is in SLURM's queue already, as job {job} ({state}). Wait for it, or end it first: "
            f"{cancel_command(job)}"
        )
    make_folder(run_dir)
    job = submit(script, run_dir / "slurm.sh")
    write_text(noted, f"{job}\n")
    card(
        f"submitted as job {job} of SLURM",
        {
            "run folder": cfg.run_dir,
            "script": shown(run_dir / "slurm.sh"),
            "output": shown(run_dir / f"slurm-{job}.txt"),
        },
        {
            "what became of it": f"squeue -j {job}",
            "end it": cancel_command(job),
            "continue it after that": f"the same command with run_dir={cfg.run_dir}",
        },
    )
    return True


def _words(overrides: list[str], counts: Mapping[str, str | int]) -> list[str]:
    """Return the words of the job's training: without the launcher, with the processes that SLURM starts."""
    own = ("launcher", "run_dir", "dry_run")
    words = [word for word in overrides if re.split(r"[=.]", word.lstrip("+~"))[0] not in own]
    for key, option in _DECIDED.items():
        count = counts[option]
        named = [word for word in words if word.startswith(f"hardware.{key}=")]
        if named and named[-1] != f"hardware.{key}={count}":
            raise ValueError(
                f"{named[-1]}: SLURM starts the processes, launcher.options.{option}={count}. Set that, and leave "
                f"hardware.{key} out."
            )
        words += [] if named else [f"hardware.{key}={count}"]
    return words
