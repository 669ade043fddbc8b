"""How many kernels a GPU would be given, and how often the host would wait for it; counted on any device."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators of which torch says that their result, or its size, is known only when the device has computed it.
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class OperatorCount(TorchDispatchMode):
    """Counts torch's operators within its ``with`` block.

    Views are none: they launch nothing. An index waits if it is a mask.

    Attributes:
        kernels: by name, the operators that a device would be given.
        waits: by name, those that the host would wait for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        if self._waits(name, func, args):
            self.waits[name] += 1
        elif not (func.is_view or name in ("detach", "alias", "_unsafe_view", "_reshape_alias")):
            self.kernels[name] += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _waits(name: str, func: Any, args: tuple) -> bool:
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], (list, tuple)):
            return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
        # torchvision's NMS is not marked.
        return bool(WAITING & set(func.tags)) or name == "nms"
