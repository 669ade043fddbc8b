"""Reading what a module computes inside a forward pass, without a second one."""

from typing import Any

from torch import nn


class FeatureTap:
    """Keeps the last output of a module, by a forward hook.

    Meant for a ``with`` block around one forward pass; outside of it the module carries no hook, so that evaluation
    keeps no maps alive and a copied or exported model has no trace of the tap::

        with FeatureTap(student.backbone) as tap:
            losses = student(batched_inputs)
        maps = tap.take()

    Args:
        module: the module to listen to. Its output is kept as it is, in its autograd graph.
    """

    _NOTHING = object()

    def __init__(self, module: nn.Module):
        self._output = self._NOTHING
        self._handle = module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self._output = output

    def take(self) -> Any:
        """Return the output of the last forward pass and forget it.

        Raises:
            RuntimeError: the module has not run since the last call.
        """
        if self._output is self._NOTHING:
            raise RuntimeError("The tapped module has not run since its output was last taken; run the network first.")
        output, self._output = self._output, self._NOTHING
        return output

    def remove(self) -> None:
        """Take the hook off the module; an output that was kept can still be taken."""
        self._handle.remove()

    def __enter__(self) -> "FeatureTap":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
