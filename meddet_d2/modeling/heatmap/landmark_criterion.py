"""What a network of landmarks is trained by: its heat maps' errors, and those of the tasks beside them.

Shape legend:
    N: images; K: landmarks; h, w: height and width of a heat map in cells
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...config.arguments import require, require_choice
from ...hardware.processes import count_processes, sum_over_processes
from ..image_batch import inside
from .auxiliary_tasks import offset_errors, structure_errors
from .gaussian_targets import STRIDE, cells_of, gaussian_maps, to_cells
from .heatmap_losses import LOSSES, REDUCTIONS, cell_weights


class LandmarkCriterion:
    """Losses of a batch, each the mean over what is annotated in all images of the step.

    Args:
        sigma: of the targets' Gaussians, in cells.
        loss: in ``LOSSES``.
        adaptive_wing: alpha, omega, epsilon and theta of :func:`adaptive_wing`.
        reduction: see :func:`cell_weights`.
        offset_radius: how far around a landmark offsets are learned, as a part of the image's longer side.
        offset_weight, structure_weight: of these tasks' losses.

    Raises:
        ValueError: for an argument outside its range; the message names the config key.
    """

    def __init__(
        self,
        *,
        sigma: float = 2.0,
        loss: str = "mse",
        adaptive_wing: Sequence[float] = (2.1, 14.0, 1.0, 0.5),
        reduction: str = "mean",
        offset_radius: float = 0.05,
        offset_weight: float = 0.5,
        structure_weight: float = 0.5,
    ):
        require_choice("MODEL.LANDMARK.LOSS", loss, LOSSES)
        require_choice("MODEL.LANDMARK.REDUCTION", reduction, REDUCTIONS)
        wing = tuple(adaptive_wing)
        in_range = len(wing) == 4 and wing[0] > 2 and min(wing) > 0
        for key, value, good, expected in (
            ("ADAPTIVE_WING", wing, in_range, "four numbers above 0, the first above 2"),
            ("SIGMA", sigma, sigma > 0, "above 0"),
            ("OFFSET_RADIUS", offset_radius, offset_radius > 0, "above 0"),
            ("OFFSET_WEIGHT", offset_weight, offset_weight >= 0, "at least 0"),
            ("STRUCTURE_WEIGHT", structure_weight, structure_weight >= 0, "at least 0"),
        ):
            require(good, f"MODEL.LANDMARK.{key}", value, expected)
        self.sigma, self.reduction = sigma, reduction
        self.error, self.options = LOSSES[loss], wing if loss == "adaptive_wing" else ()
        self.offset_radius = offset_radius
        self.weights = {"loss_heatmap": 1.0, "loss_offset": offset_weight, "loss_structure": structure_weight}

    def __call__(
        self, heatmaps: Sequence[Tensor], auxiliary: Mapping[str, Tensor], truth: Any, *, together: bool = True
    ) -> dict[str, Tensor]:
        """The losses of a network's outputs.

        Args:
            heatmaps: (N, K, h, w), one or several for intermediate supervision; their losses are added up. N may be 0.
            auxiliary: what the other tasks' heads say, by "offset" (N, 2 * K, h, w) and "structure" (N, S, h, w).
            truth: the :class:`LandmarkTruth` of the N images.
            together: the images are this process's part of a batch: the losses' mean over the processes is then that
                batch's, and every process must call. False: the images are the whole batch.

        Returns:
            "loss_heatmap", the mean over the landmarks that are there; of the other tasks "loss_offset", the mean over
            the cells near landmarks, and "loss_structure", the mean over what is known. Scalars with their weights
            applied; 0 where there is nothing to learn from, NaN if a prediction is.
        """
        size = heatmaps[-1].shape[-2:]
        valid, centers = self._valid(truth, size), to_cells(truth.points, STRIDE)
        target = gaussian_maps(centers, truth.present, (size[0], size[1]), self.sigma)
        sums = {"loss_heatmap": (self._heatmap_sum(heatmaps, target, truth.present, valid), truth.present.sum())}
        if "offset" in auxiliary:
            sides = torch.tensor([float(max(image)) for image in truth.image_sizes]).to(valid.device, non_blocking=True)
            radius = self.offset_radius * sides / STRIDE
            sums["loss_offset"] = offset_errors(auxiliary["offset"], centers, radius, truth.present, valid)
        if "structure" in auxiliary:
            sums["loss_structure"] = structure_errors(auxiliary["structure"], truth.structures, STRIDE, valid)
        counts = _totals([count for _, count in sums.values()], together)
        named = zip(sums.items(), counts, strict=True)
        return {name: self.weights[name] * total / count for (name, (total, _)), count in named}

    def against(self, heatmaps: Sequence[Tensor], target: Tensor, truth: Any, *, together: bool = True) -> Tensor:
        """What heat maps cost against any others, as a teacher's, in the manner of "loss_heatmap": a scalar.

        Args:
            heatmaps: (N, K, h, w), one or several; their losses are added up.
            target: (N, K, h, w).
            truth: only the landmarks that it has count.
            together: as for a call.
        """
        total = self._heatmap_sum(heatmaps, target, truth.present, self._valid(truth, target.shape[-2:]))
        return total / _totals([truth.present.sum()], together)[0]

    def _heatmap_sum(self, heatmaps: Sequence[Tensor], target: Tensor, present: Tensor, valid: Tensor) -> Tensor:
        weights, total = cell_weights(valid, self.reduction, self.sigma), target.new_zeros(())
        for predicted in heatmaps:
            errors = self.error(predicted.float(), target, *self.options)
            total = total + ((errors * weights).sum(dim=(2, 3)) * present).sum()
        return total

    @staticmethod
    def _valid(truth: Any, size: Sequence[int]) -> Tensor:
        return inside(cells_of(truth.image_sizes, STRIDE), size[0], size[1], truth.points.device)


@torch.no_grad()
def _totals(counts: Sequence[Tensor], together: bool) -> Tensor:
    """What sums are divided by: the whole batch's counts, each at least 1, by the number of processes."""
    totals = torch.stack(list(counts)).float()
    processes = count_processes() if together else 1
    if processes > 1:
        totals = sum_over_processes(totals)
    return totals.clamp(min=1) / processes
