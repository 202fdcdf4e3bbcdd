"""What holds for every test: one thread, fixed seeds, and annotations of shapes that are checked while tests run."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: several test processes share the cores
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["WANDB_MODE"] = "disabled"

import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
