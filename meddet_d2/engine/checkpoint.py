"""A checkpointer that writes beside and renames, and that loads everything or nothing."""

from pathlib import Path

import torch

from detectron2.checkpoint import DetectionCheckpointer
from meddet_d2.files import replacing
from meddet_d2.modeling.weights import UNREADABLE, read_weights, set_weights


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
        with replacing(target) as partial:
            torch.save(data, partial)
        self.tag_last_checkpoint(target.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the newest checkpoint in ``<save_dir>/last_checkpoint``."""
        with replacing(Path(self.save_dir) / "last_checkpoint") as partial:
            partial.write_text(last_filename_basename)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load ``path`` strictly.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the weights do not fit the model, or the file is damaged or a pickle of another program.
        """
        if path and "://" not in path:
            if not Path(path).is_file():
                raise FileNotFoundError(f"The checkpoint {path} does not exist; train it or correct MODEL.WEIGHTS.")
            if path.endswith(".pkl"):
                raise ValueError(f"{path} is a pickle, which can run any code when opened; convert it to .pth first.")
        self._loading = path
        return super().load(path, checkpointables)

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(".safetensors"):
            return {"model": read_weights(filename)}
        try:
            return super()._load_file(filename)
        except UNREADABLE as error:
            raise ValueError(f"{filename} cannot be read as a checkpoint; it may be damaged: make it again.") from error

    def _load_model(self, checkpoint: dict) -> None:
        set_weights(self.model, checkpoint["model"], self._loading)
