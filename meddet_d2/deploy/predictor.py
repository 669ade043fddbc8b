"""What an exported network finds: onnxruntime, numpy and Pillow, no torch and no Detectron2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .card import FORMAT, FORMAT_MARK, ModelCard
from .found import FOUND, Found


class Predictor:
    """An exported network and its model card.

    Attributes:
        classes: names of what it finds: classes, or landmarks.
        result: "boxes" or "landmarks", which decides what a call gives (found.py).
        least_score: what has less is not given.

    Example:
        >>> predictor = Predictor("exported/model.onnx")
        >>> found = predictor(read_image("slice.png"))
        >>> [predictor.card.classes[index] for index in found.classes]
    """

    def __init__(self, model: str | Path, *, threads: int | None = None, providers: Sequence[str] = ()) -> None:
        """
        Args:
            model: an onnx file of meddet export; its card, card.json, lies in the same folder.
            threads: CPU threads of one image's work; all cores if None.
            providers: of onnxruntime, best first; the CPU if empty.

        Raises:
            FileNotFoundError: the model or its card is missing.
            ValueError: card and model do not belong together, were written by another version, or the file is no model.
        """
        import onnxruntime

        model = Path(model)
        if not model.is_file():
            raise FileNotFoundError(f"{model}: no such model; meddet export writes one.")
        self.card = ModelCard.read(model.parent / "card.json")
        self.card.check_file(model)
        self.classes, self.result = self.card.classes, self.card.result
        self.least_score = self.card.thresholds["score"]
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(model), options, providers=list(providers) or ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise ValueError(f"{model}: onnxruntime cannot load it ({' '.join(str(error).split())[:200]}).") from error
        found = self.session.get_modelmeta().custom_metadata_map.get(FORMAT_MARK)
        if found != str(FORMAT):
            raise ValueError(
                f"{model}: an onnx file of format {found}, this meddet_d2 reads {FORMAT}; export the model again with"
                " this version, or use the version that wrote it."
            )

    def __call__(self, image: np.ndarray) -> Any:
        """What is found in one picture: `Detections`, or `Landmarks`.

        Args:
            image: (H, W, 3) uint8, RGB, as ``meddet_d2.formats.read_image`` gives it.

        Raises:
            ValueError: the array is no such image, or too small.
            FloatingPointError: the network predicts NaN; nothing found would look like a healthy patient.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[np.ndarray]) -> list[Any]:
        """The same for several pictures at once; raises ValueError also if they do not come to one size."""
        if not images:
            return []
        inputs = [self.prepare(image) for image in images]
        sizes = {array.shape for array in inputs}
        if len(sizes) > 1:
            listed = ", ".join(f"{width} x {height}" for _, height, width in sorted(sizes))
            raise ValueError(
                f"A batch must be of one size, but these pictures come to {listed} pixels: give them one by one."
            )
        names = [output.name for output in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(None, {"images": np.stack(inputs)}), strict=True))
        sound = outputs["sound"]
        if not sound.all():
            raise FloatingPointError(f"The network predicts NaN for {int((~sound).sum())} of {len(images)} image(s).")
        results: list[Found] = []
        for index, image in enumerate(images):
            size, of_graph = (np.array(shape, np.float32) for shape in (image.shape[1::-1], inputs[index].shape[:0:-1]))
            results.append(FOUND[self.result].from_graph(outputs, index, size, size / of_graph))
        return results

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (3, h, w) uint8: the size and the order of channels that the card asks for."""
        check_image(image, self.card.image["min_side"])
        height, width = image.shape[:2]
        new_height, new_width = resized(height, width, self.card.image["min_size"], self.card.image["max_size"])
        if (new_height, new_width) != (height, width):
            image = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
        if self.card.image["order"] == "BGR":
            image = image[:, :, ::-1]
        return np.ascontiguousarray(image.transpose(2, 0, 1))


def check_image(image: np.ndarray, smallest: int) -> None:
    """Raise ValueError if an array is no (H, W, 3) uint8 image, or has a side below ``smallest`` pixels."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"An image must be uint8 of shape (height, width, 3), RGB, but this is {found}.")
    height, width = image.shape[:2]
    if min(height, width) < smallest:
        raise ValueError(f"The image is {width} x {height} pixels; its sides must be at least {smallest}.")


def resized(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Height and width, the shorter side scaled to ``shortest``, or to less if the longer would exceed ``longest``."""
    # In the order and with the rounding of Detectron2's ResizeShortestEdge, to the last bit.
    scale = shortest / min(height, width)
    sides = [scale * height, float(shortest)] if height >= width else [float(shortest), scale * width]
    if max(sides) > longest:
        shrink = longest / max(sides)
        sides = [side * shrink for side in sides]
    return int(sides[0] + 0.5), int(sides[1] + 0.5)
