"""Checks that turn a mistake into one line before it costs a run."""

import torch

from detectron2.config import CfgNode


def check_config(cfg: CfgNode) -> None:
    """Refuse settings that cannot work on this machine.

    Raises:
        ValueError: mixed precision or a CUDA device where there is no CUDA.
    """
    device = torch.device(cfg.MODEL.DEVICE).type
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("MODEL.DEVICE is cuda, but torch finds no CUDA here; set MODEL.DEVICE cpu (or auto).")
    if cfg.SOLVER.AMP.ENABLED and device == "cpu":
        raise ValueError("SOLVER.AMP.ENABLED needs a CUDA device; set SOLVER.AMP.ENABLED False to train on the CPU.")


def raise_if_not_finite(trainer, model, inputs, losses) -> None:
    """Forward hook of a model in training: stop before backward if any of its losses is not finite.

    Args:
        trainer: names the iteration.
        model, inputs, losses: as ``torch.nn.Module.register_forward_hook`` gives them; a batch and a dict of scalars.

    Raises:
        FloatingPointError: one line with the losses at fault, the iteration and the ids of the batch's images.
    """
    if not model.training:
        return
    names = list(losses)
    finite = torch.isfinite(torch.stack([losses[name].detach().float().sum() for name in names])).tolist()
    wrong = [name for name, good in zip(names, finite, strict=True) if not good]
    if wrong:
        images = ", ".join(str(item.get("image_id", "?")) for item in inputs[0])
        raise FloatingPointError(
            f"{', '.join(wrong)} became infinite or NaN at iteration {trainer.iter} on the images with id {images}; "
            "lower SOLVER.BASE_LR (it belongs to a batch size), switch on SOLVER.CLIP_GRADIENTS, or look at the images."
        )
