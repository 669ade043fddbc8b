"""A checkpointer that writes beside and renames, finds the newest whole file, and loads everything or nothing."""

import logging
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from meddet_d2.files import replacing, write_text
from meddet_d2.modeling.bodies import first_line
from meddet_d2.modeling.weights import (
    CLASSES,
    UNREADABLE,
    check_classes,
    read_checkpoint,
    set_weights,
)

logger = logging.getLogger(__name__)

# The best weights so far, without the training's state: nothing resumes from them.
BEST = "model_best"
FINAL = "model_final"
# Names the newest checkpoint, as Detectron2 has it, and the run that the folder's checkpoints belong to.
LAST, RUN = "last_checkpoint", "current_run"
# Files with the training's state: after an iteration of this number, or at the end.
CHECKPOINT = re.compile(r"model_(\d{7}|final)\.pth")


class SafeCheckpointer:
    """A ``DetectionCheckpointer`` for this project's detectors; files hold tensors and plain values, never a pickle.

    A run killed while it saves leaves the checkpoint before it whole and ``last_checkpoint`` pointing at it. A file
    that is damaged all the same is passed over for the one before it. A file whose weights are those of another
    architecture is refused: Detectron2 loads what fits and warns about the rest, which for a teacher or an evaluation
    is a wrong number that looks right.

    Args:
        model: a detector.
        save_dir: where checkpoints are written; "" for nowhere.
        classes: the names of its classes, which every file is written with, and must have if it has any.
        checkpointables: what is saved and loaded with the model.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, classes: Sequence[str] | None = None, **checkpointables: Any
    ) -> None:
        self.model, self.save_dir, self.checkpointables = model, save_dir, checkpointables
        self.folder = Path(save_dir)
        self.classes = None if classes is None else list(classes)
        self._writes = bool(save_dir) and comm.is_main_process()

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` with the model, the other checkpointables and ``kwargs``; it is the newest.

        Raises:
            OSError: it cannot be written; what was there is untouched.
        """
        if not self._writes:
            return
        state = {key: item.state_dict() for key, item in self.checkpointables.items()}
        target = self._write(name, {"model": self.model.state_dict(), **state, **self._run(), **kwargs})
        write_text(self.folder / LAST, target.name)

    def save_best(self, **kwargs: Any) -> None:
        """Write the model alone, and ``kwargs``, as ``model_best.pth``; the newest checkpoint stays what it is."""
        if self._writes:
            self._write(BEST, {"model": self.model.state_dict(), **kwargs})

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        target = self.folder / f"{name}.pth"
        content = content if self.classes is None else {**content, CLASSES: self.classes}
        logger.info("Saving checkpoint to %s", target)
        try:
            with replacing(target) as partial:
                torch.save(content, partial)
        except RuntimeError as error:
            # torch's own words for a full disk.
            raise OSError(f"{target} cannot be written: {first_line(error)}; is the disk full?") from error
        return target

    def finish(self, name: str) -> None:
        """Make the newest checkpoint ``<name>.pth``, where a kill has come between a run's last step and that."""
        newest = self._newest()
        if newest and Path(newest).stem != name:
            logger.info("%s is a finished run's: it becomes %s.pth as well", newest, name)
            with replacing(self.folder / f"{name}.pth") as partial:
                shutil.copyfile(newest, partial)
            write_text(self.folder / LAST, f"{name}.pth")

    def keep_newest(self, count: int) -> None:
        """Delete the numbered checkpoints of ``save_dir`` but for the newest ``count``, up to the one just written."""
        newest = self._named_newest()
        for path in [path for path in self._checkpoints() if path.name <= newest][:-count]:
            path.unlink(missing_ok=True)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from the newest whole checkpoint of ``save_dir``, if ``resume`` and there is one.

        Otherwise load the weights in ``path``, if it is not empty, and begin a run: whatever checkpoints an earlier one
        has left in ``save_dir`` will not be resumed from any more.
        """
        if self._writes:
            for name in (".model_*.pth", f".{LAST}.*", f".{RUN}.*"):
                for partial in self.folder.glob(name):
                    partial.unlink()  # of a run that was killed while it saved
        newest = self.get_checkpoint_file() if resume else ""
        if newest:
            return self.load(newest)
        rest = self.load(path, checkpointables=[])
        if self._writes:
            write_text(self.folder / RUN, uuid.uuid4().hex)
            (self.folder / LAST).unlink(missing_ok=True)
        return rest

    def has_checkpoint(self) -> bool:
        """Whether ``save_dir`` has a whole checkpoint of the present run."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """The newest whole checkpoint of the present run in ``save_dir``, the same on all processes; "" for none.

        Raises:
            ValueError: there are checkpoints, and all of them are damaged.
            FileNotFoundError: a process does not see the main one's files.
        """
        # The main process chooses: the others may look a moment later.
        path, fault = "", ""
        if comm.is_main_process():
            try:
                path = self._newest()
            except ValueError as error:
                fault = str(error)
        path, fault = comm.all_gather((path, fault))[0]
        if fault:
            raise ValueError(fault)
        # All raise, or the others would wait for those that do.
        if not all(comm.all_gather(not path or Path(path).is_file())):
            raise FileNotFoundError(f"{path} is on the first machine only; all machines must share OUTPUT_DIR.")
        return path

    def _newest(self) -> str:
        if not self.save_dir:
            return ""
        run, damaged = self._run().get("run"), []
        for path in self._candidates():
            try:
                content = _read_whole(path)
                needed = {"model", "trainer"} & {"model", *self.checkpointables}
                missing = sorted(needed - content.keys())
                if missing:
                    raise ValueError(f"it holds no {missing[0]}")
            except UNREADABLE as error:
                reason = first_line(error)
                logger.warning("%s is damaged or no checkpoint (%s); looking at the one before it.", path, reason)
                damaged.append(path.name)
                continue
            if run is None or content.get("run") == run:
                return str(path)
        if damaged:
            raise ValueError(
                f"No checkpoint in {self.save_dir} is whole ({', '.join(damaged)}); move them away to start anew."
            )
        return ""

    def _candidates(self) -> Iterator[Path]:
        """What ``last_checkpoint`` names, and then the others, the newest first."""
        named = self._named_newest()
        if named:
            yield self.folder / named
        others = [path for path in self._checkpoints() if path.name != named]
        if others and not named:
            logger.warning("%s names no checkpoint that is there; looking at all of them.", self.folder / LAST)
        yield from sorted(others, key=_iteration, reverse=True)

    def _checkpoints(self) -> list[Path]:
        """All of ``save_dir``: the numbered ones, the oldest first, and then the final one."""
        return sorted(path for path in self.folder.glob("model_*.pth") if CHECKPOINT.fullmatch(path.name))

    def _named_newest(self) -> str:
        """The file in ``last_checkpoint``, or "" where that is missing, empty, or names no checkpoint of the folder."""
        try:
            name = (self.folder / LAST).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""
        # A mere name: a path could lead out of the folder.
        return name if CHECKPOINT.fullmatch(name) and (self.folder / name).is_file() else ""

    def _run(self) -> dict[str, str]:
        path = self.folder / RUN
        return {"run": path.read_text(encoding="utf-8").strip()} if path.is_file() else {}

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load ``path`` strictly.

        Args:
            path: a .pth or .safetensors; "" loads nothing.
            checkpointables: names of what is loaded with the model; None: all that the file has.

        Returns:
            What else the file holds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: weights, classes or states do not fit, or the file is damaged or a pickle of another program.
        """
        if not path:
            return {}
        if "://" in path:
            path = PathManager.get_local_path(path)
        if not Path(path).is_file():
            raise FileNotFoundError(f"The checkpoint {path} does not exist; train it or correct MODEL.WEIGHTS.")
        logger.info("Loading %s", path)
        weights, classes, content = read_checkpoint(path)
        check_classes(path, classes, self.classes)
        set_weights(self.model, weights, path)
        for name in self.checkpointables if checkpointables is None else checkpointables:
            if name in content:
                try:
                    self.checkpointables[name].load_state_dict(content.pop(name))
                except (RuntimeError, KeyError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"{path}: the state of '{name}' is that of another run ({first_line(error)}); resume with the "
                        "config and version that it was written by, or start anew without --resume."
                    ) from error
        return content


def _read_whole(path: Path) -> dict[str, Any]:
    """A checkpoint's content, its tensors not yet read, after a look at every byte's checksum.

    Raises:
        one of ``UNREADABLE``.
    """
    with zipfile.ZipFile(path) as archive:
        # torch itself does not compare them.
        spoilt = archive.testzip()
    if spoilt is not None:
        raise ValueError(f"its part {spoilt} has another checksum")
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict):
        raise ValueError("it holds no dict")
    return content


def _iteration(path: Path) -> int:
    """The iteration that a checkpoint was written at; -1 if the final one does not say it."""
    if path.stem != FINAL:
        return int(path.stem.removeprefix("model_"))
    try:
        return int(_read_whole(path)["iteration"])
    except UNREADABLE:
        return -1
