"""How much memory a computation holds at its worst moment, and which parts of a module hold it.

Counts the storages that operations make, from when they are made until nothing refers to them. Tensors may be real or
fake (:class:`torch._subclasses.FakeTensor`): a fake one has a size and no contents, so that nothing is computed and no
memory is needed. Buffers that a kernel keeps to itself are not seen.
"""

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryTrace(TorchDispatchMode):
    """Counts what is made while it is entered.

    Args:
        parts: modules whose memory is told apart, by name; each stands for all of its submodules.
        outside: what is made outside of them is called so.

    Attributes:
        outside: see above; may be changed while it is entered.
        live: bytes held now.
        peak: most bytes held at one moment.
        at_peak: bytes that each part held at that moment.
    """

    def __init__(self, parts: Mapping[str, nn.Module], outside: str) -> None:
        super().__init__()
        self.outside = outside
        self._part_of = {module: name for name, part in parts.items() for module in part.modules()}
        self._stack: list[str] = []
        self._held: dict[int, weakref.ref[Any]] = {}
        self._by_part: Counter[str] = Counter()
        self._hooks = ExitStack()
        self.live = self.peak = 0
        self.at_peak: dict[str, int] = {}

    def __enter__(self) -> "MemoryTrace":
        """Begin to count."""
        before = nn.modules.module.register_module_forward_pre_hook(self._enter_module)
        after = nn.modules.module.register_module_forward_hook(self._leave_module, always_call=True)
        for hook in (before, after):
            self._hooks.callback(hook.remove)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Count no longer what is made; what is freed is still subtracted."""
        super().__exit__(*error)
        self._hooks.close()

    def restart_peak(self) -> None:
        """Forget the worst moment so far."""
        self.peak, self.at_peak = self.live, dict(self._by_part)

    def _enter_module(self, module: nn.Module, _: Any) -> None:
        if module in self._part_of:
            self._stack.append(self._part_of[module])

    def _leave_module(self, module: nn.Module, *_: Any) -> None:
        if module in self._part_of:
            self._stack.pop()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and count what it made."""
        made = _run(func, args, kwargs or {})
        if all(value.alias_info is None for value in func._schema.returns):  # neither a view nor in place
            for tensor in tree_leaves(made):
                if isinstance(tensor, Tensor):
                    self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held or not size:
            return
        part = self._stack[-1] if self._stack else self.outside

        def freed(_: Any) -> None:
            del self._held[key]
            self.live -= size
            self._by_part[part] -= size

        self._held[key] = weakref.ref(storage, freed)
        self.live += size
        self._by_part[part] += size
        if self.live > self.peak:
            self.restart_peak()


def fake_weights(module: nn.Module) -> None:
    """Replace the parameters of a module by fake ones: what depends on them is not computed, all else is.

    Sizes that depend on values, as the number of occupied voxels of a cloud, are so what they are in training.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    made: dict[nn.Parameter, nn.Parameter] = {}
    for each in module.modules():
        for name, weight in each._parameters.items():
            if weight is not None:
                if weight not in made:
                    made[weight] = nn.Parameter(mode.from_tensor(weight.data), weight.requires_grad)
                each._parameters[name] = made[weight]


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if func is torch.ops.aten._grouped_mm.default and isinstance(args[0], FakeTensor | Tensor):
        return _grouped_mm(func, args, kwargs)
    return func(*args, **kwargs)


def _grouped_mm(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a grouped product makes; torch knows its shape in half precision only, where it is fake."""
    left, right = args[:2]
    if not isinstance(left, FakeTensor) and not isinstance(right, FakeTensor):
        return func(*args, **kwargs)
    offsets = kwargs.get("offs", args[2] if len(args) > 2 else None)
    if left.ndim == 2 and right.ndim == 2:
        shape = [len(offsets), left.shape[0], right.shape[1]]
    else:
        shape = [*left.shape[:-1], right.shape[-1]]
    like = left if isinstance(left, FakeTensor) else right
    return like.new_empty(shape)
