"""A checkpointer that writes beside and renames, and that loads everything or nothing."""

import os
from pathlib import Path

import torch

from detectron2.checkpoint import DetectionCheckpointer


class SafeCheckpointer(DetectionCheckpointer):
    """``DetectionCheckpointer`` for this project's detectors.

    A run killed while it saves leaves the checkpoint before it whole and ``last_checkpoint`` pointing at it. A file
    whose weights are those of another architecture is refused: Detectron2 loads what fits and warns about the rest,
    which for a teacher or an evaluation is a wrong number that looks right.
    """

    def save(self, name: str, **kwargs) -> None:
        """Write ``<save_dir>/<name>.pth`` with the model, the other checkpointables and ``kwargs``."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data.update(kwargs)
        target = Path(self.save_dir) / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", target)
        replace_file(target, lambda partial: torch.save(data, partial))
        self.tag_last_checkpoint(target.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the newest checkpoint in ``<save_dir>/last_checkpoint``."""
        target = Path(self.save_dir) / "last_checkpoint"
        replace_file(target, lambda partial: partial.write_text(last_filename_basename))

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load ``path`` strictly.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the weights do not fit the model, or the file is a pickle of another program.
        """
        if path and "://" not in path:
            if not Path(path).is_file():
                raise FileNotFoundError(
                    f"MODEL.WEIGHTS names {path}, which does not exist; train it or correct the path."
                )
            if path.endswith(".pkl"):
                raise ValueError(f"{path} is a pickle, which can run any code when opened; convert it to .pth first.")
        self._loading = path
        return super().load(path, checkpointables)

    def _load_model(self, checkpoint):
        incompatible = super()._load_model(checkpoint)
        kinds = {
            "missing": incompatible.missing_keys,
            "unexpected": incompatible.unexpected_keys,
            "of another shape": [name for name, *_ in incompatible.incorrect_shapes],
        }
        wrong = [f"{len(names)} {kind} (first: {names[0]})" for kind, names in kinds.items() if names]
        if wrong:
            raise ValueError(
                f"{self._loading} holds the weights of another architecture: {', '.join(wrong)}; "
                "use the config that it was trained with."
            )
        return incompatible


def replace_file(target: Path, write) -> None:
    """Let ``write(path)`` make a file beside ``target``, flush it to the disk and rename it to ``target``."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
