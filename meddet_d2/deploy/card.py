"""The json beside an exported detector: what it was trained on, what it expects, and which files belong to it."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

from ..files import checksum, read_json_object

# Raised when a file of before cannot be used as it was: graph inputs and outputs, or the card's fields.
FORMAT = 1
# The key of FORMAT in a graph's and in a weights file's metadata.
FORMAT_MARK = "meddet_d2.format"
# Pixels: what the graph takes grows with its square, and a card is a stranger's file.
LARGEST_SIDE = 8192
# How json writes the types of the fields.
_KINDS: dict[Any, type] = {str: str, int: int, dict: dict, tuple: list}
# What comes out of a network, as its task calls it. A card that does not say it was written before landmarks were.
RESULTS = ("boxes", "landmarks")
COORDINATES = (
    "Pixels of the given image, without gaps: its first pixel reaches from 0 to 1, and the middle of that is at 0.5."
    " Millimetres are x times the distance between columns and y times that between rows, where the image states them."
)
INTENDED_USE = (
    "Research only. Finds its classes on images like those that it was trained on. Not a medical device: it has not"
    " been shown to be fit for diagnosis, and nobody should be treated by what it says."
)


@dataclass(frozen=True)
class ModelCard:
    """What a user of the exported files has to know.

    Attributes:
        name: the config's name.
        classes: names, in the order of the class numbers; or of the landmarks, in the order of the points.
        image: how a picture becomes the graph's input: "order" of the channels, "min_size" and "max_size" of its sides
            in pixels after resizing, "min_side" that it must have before; inside of the graph "mean" and "std" of each
            channel, and the "divisor" to whose multiples it is padded.
        thresholds: "score", "nms", "nms_across_classes", "topk" of each level and "max_detections", all in the graph.
        network: "config" (file), "config_hash", "nmode" with its "t_end", "parameters".
        made_by: "version" of meddet_d2, "commit", "torch", "engine".
        trained_on: names of the data sets.
        files: {file name: sha256}.
        intended_use: what the detector is for and what not.
        result: "boxes" or "landmarks": what comes out.
        coordinates: what a number of a box or a point means.
        format: of this file and of the graphs; see FORMAT.
    """

    name: str
    classes: tuple[str, ...]
    image: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    result: str = RESULTS[0]
    coordinates: str = COORDINATES
    format: int = FORMAT

    def to_json(self) -> str:
        """The card as indented json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: str | Path) -> "ModelCard":
        """Read a card.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no card, or one of another format. One line, naming the file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such model card; meddet export writes it beside the onnx file.")
        try:
            content = read_json_object(path)
        except ValueError as error:
            raise ValueError(f"{path} {error}; export the model again.") from error
        if "format" not in content:
            raise ValueError(f"{path}: no model card of this project; give the json that meddet export wrote.")
        if content["format"] != FORMAT:
            raise ValueError(
                f"{path}: a model card of format {content['format']}, this meddet_d2 reads {FORMAT}; export the model"
                " again with this version, or use the version that wrote it."
            )
        content = {"result": RESULTS[0], "coordinates": COORDINATES, **content}
        wrong = {entry.name for entry in fields(cls)}.symmetric_difference(content)
        if wrong:
            raise ValueError(f"{path}: the model card lacks or has unknown fields: {', '.join(sorted(wrong))}.")
        for entry in fields(cls):
            kind = _KINDS[get_origin(entry.type) or entry.type]
            if not isinstance(content[entry.name], kind):
                raise ValueError(f"{path}: {entry.name} is no {kind.__name__}; export the model again.")
        card = cls(**{**content, "classes": tuple(content["classes"]), "trained_on": tuple(content["trained_on"])})
        card._check(path)
        return card

    def _check(self, path: Path) -> None:
        sizes = [self.image.get(key) for key in ("min_size", "max_size", "min_side")]
        sound = all(type(size) is int and 0 < size <= LARGEST_SIDE for size in sizes)
        if not sound or self.image.get("order") not in ("RGB", "BGR"):
            raise ValueError(
                f"{path}: image must name order RGB or BGR, and min_size, max_size and min_side in pixels, at most"
                f" {LARGEST_SIDE}."
            )
        if self.result not in RESULTS:
            raise ValueError(
                f"{path}: result is {self.result!r}, and this version knows {' and '.join(RESULTS)}; export the model"
                " again, or use the version that wrote it."
            )
        if not self.classes:
            raise ValueError(f"{path}: classes must be a list of names.")
        # They become columns of tables and labels on pages, and a spreadsheet runs what begins with one of these.
        for name in (self.name, *self.classes, *self.trained_on):
            if not isinstance(name, str) or not name.isprintable() or name[:1] in ("", *"=+-@"):
                raise ValueError(f"{path}: {name!r} is no name; use letters that can be printed, no sign =+-@ first.")
        if len(set(self.classes)) < len(self.classes):
            kind = "classes" if self.result == RESULTS[0] else self.result
            names = ", ".join(self.classes)
            raise ValueError(f"{path}: two {kind} have one name, {names}; export the model again.")
        score = self.thresholds.get("score")
        # Compared, because math.isfinite cannot take an integer of hundreds of digits.
        if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
            raise ValueError(f"{path}: thresholds must have a score, from 0 to 1.")
        if not all(isinstance(digits, str) for digits in self.files.values()):
            raise ValueError(f"{path}: files must name each file's sha256.")

    def check_file(self, path: str | Path) -> None:
        """Raise ValueError if a file is none of this card's, byte for byte."""
        path = Path(path)
        expected = self.files.get(path.name)
        if expected is None:
            raise ValueError(
                f"{path}: not of this model card, which belongs to {', '.join(sorted(self.files)) or 'none'}."
            )
        if checksum(path) != expected:
            raise ValueError(f"{path}: not the file that its model card was written for (sha256); export both again.")
