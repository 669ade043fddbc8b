"""One pass of a network without memory, so that what cannot run is refused before hours of training."""

from collections.abc import Mapping

import torch
from torch import nn

from meddet_d2.modeling.bodies import first_line

from .tasks import task_of


def check_forward(networks: Mapping[str, nn.Module], side: int) -> None:
    """Run each network's maps and head on an image of (side, side) pixels; it is left in evaluation mode.

    Args:
        networks: on the meta device, by the names that an error calls them.
        side: in pixels.

    Raises:
        ValueError: one of them does not run; one line that names it.
    """
    image = torch.zeros(3, side, side, device="meta")
    for name, network in networks.items():
        task = task_of(network.eval())
        try:
            with torch.no_grad():
                task.head_outputs(network, task.observe(network, task.example_inputs(image)).features)
        # Any network may fail, in any way.
        except Exception as error:
            # Some, as MODEL.NMODE.SOLVER odeint, look at values on their way, which are not there.
            if "meta" not in str(error):
                raise ValueError(f"{name} does not run on images of {side}x{side} ({first_line(error)}).") from error
