"""Fully sharded data parallelism: weights, gradients, averages and the optimizer's values, divided among processes.

Zhao et al. 2023, by torch's ``fully_shard``. The whole model is one unit: a step gathers the weights before the forward
and before the backward pass, and each process keeps its part of everything in between. Checkpoints are whole: the same
files as those of one process, read by any number of them.
"""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map


def whole(tree: Any) -> Any:
    """Gather the divided tensors in nested containers; all processes call it with the same ones."""
    return tree_map(lambda value: value.full_tensor() if isinstance(value, DTensor) else value, tree)


def is_sharded(module: nn.Module) -> bool:
    """Say whether a module's weights are divided among processes."""
    return isinstance(module, FSDPModule)


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy for ``fully_shard``, with one unit and whole checkpoints written by ``CheckpointIO``."""

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Weights and averages are read before they are divided."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """The optimizer's values are read by :meth:`load_optimizer_state_dict`."""
        return True

    def setup_environment(self) -> None:
        """Let all processes share in the data: none shares in the work on one batch."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()
        assert self.lightning_module is not None
        self.lightning_module._device_mesh = None  # no copy of the module can be made with it

    def setup(self, trainer: pl.Trainer) -> None:
        """Divide the module, which needs no hook for that."""
        super(ModelParallelStrategy, self).setup(trainer)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        self.shard(model)
        for step in ("training_step", "validation_step"):
            register_fsdp_forward_method(model, step)
        return model

    def shard(self, module: nn.Module) -> None:
        """Divide a module's weights among all processes, each of which holds the same ones."""
        mesh: DeviceMesh = self.device_mesh["data_parallel"]
        fully_shard(module, mesh=mesh, reshard_after_forward=True)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gather the weights."""
        assert self.lightning_module is not None
        state: dict[str, Any] = whole(self.lightning_module.state_dict())
        return state

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Gather the optimizer's values."""
        state: dict[str, Any] = whole(super(ModelParallelStrategy, self).optimizer_state(optimizer))
        return state

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint as one process does."""
        super(ModelParallelStrategy, self).save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint as one process does."""
        return super(ModelParallelStrategy, self).load_checkpoint(checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load weights, which are not divided yet."""
        super(ModelParallelStrategy, self).load_model_state_dict(checkpoint, strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give each process its part of the optimizer's values."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            divided = {
                number: {name: _divided_like(weights[number], value) for name, value in values.items()}
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": divided})


def _divided_like(weight: DTensor, value: Any) -> Any:
    """Return this process's part of what belongs to a weight; what is not of its shape (a step) as it is."""
    if not isinstance(value, Tensor) or value.shape != weight.shape:
        return value
    mesh: DeviceMesh = weight.device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, weight.placements, src_data_rank=None)
