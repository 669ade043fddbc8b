"""Boxes with labels on an image, drawn after enlarging it, so that lines and letters are crisp at any scale."""

from enum import Enum

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode

# Okabe and Ito's, far apart for colour-blind eyes too; the bright ones first, for dark backgrounds.
_COLORS = ("#E69F00", "#56B4E9", "#F0E442", "#009E73", "#CC79A7", "#D55E00", "#0072B2")

ColorMode = Enum("ColorMode", ["IMAGE", "SEGMENTATION", "IMAGE_BW"], start=0)  # boxes look alike in all of them


class VisImage:
    """An RGB image (H, W, 3) of uint8, enlarged by ``scale``."""

    def __init__(self, img: np.ndarray, scale: float = 1.0):
        size = round(img.shape[1] * scale), round(img.shape[0] * scale)
        self.scale, self.canvas = scale, Image.fromarray(img).resize(size, Image.Resampling.BICUBIC)

    def get_image(self) -> np.ndarray:
        """(scale * H, scale * W, 3), uint8, RGB."""
        return np.array(self.canvas)

    def save(self, filepath: str) -> None:
        self.canvas.save(filepath)


class Visualizer:
    """Draws what a data set or a detector says about an RGB image (H, W, 3) in [0, 255], onto one :class:`VisImage`."""

    def __init__(self, img_rgb, metadata=None, scale=1.0, instance_mode=ColorMode.IMAGE, font_size_scale=1.0):
        self.metadata = metadata or MetadataCatalog.get("__nonexist__")
        self.output = VisImage(np.ascontiguousarray(np.clip(img_rgb, 0, 255), dtype=np.uint8), scale)
        side = min(self.output.canvas.size)
        self._font = ImageFont.load_default(size=max(side / 40, 10) * font_size_scale)
        self._line = max(round(side / 300), 1)

    def draw_dataset_dict(self, dic: dict) -> VisImage:
        """The boxes of a data set's dict, with their classes."""
        annotations = dic.get("annotations") or []
        boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
        return self._draw(boxes, [a["category_id"] for a in annotations], [""] * len(boxes))

    def draw_instance_predictions(self, predictions) -> VisImage:
        """``pred_boxes`` with ``pred_classes`` and ``scores``, on the CPU."""
        scores = [f" {score:.0%}" for score in predictions.scores.tolist()]
        return self._draw(predictions.pred_boxes, predictions.pred_classes.tolist(), scores)

    def _draw(self, boxes, classes: list[int], suffixes: list[str]) -> VisImage:
        names = dict(enumerate(self.metadata.get("thing_classes") or []))
        labels = [str(names.get(c, c)) + suffix for c, suffix in zip(classes, suffixes, strict=True)]
        colors = [_COLORS[c % len(_COLORS)] for c in classes]
        return self.overlay_instances(boxes=boxes, labels=labels, assigned_colors=colors)

    def overlay_instances(self, *, boxes=None, labels=None, assigned_colors=None) -> VisImage:
        """``boxes`` (N, 4) XYXY in the image's pixels, N texts, and N colours of matplotlib's."""
        boxes = boxes.tensor.numpy() if isinstance(boxes, Boxes) else np.asarray([] if boxes is None else boxes)
        boxes = (boxes.reshape(-1, 4) * self.output.scale).tolist()
        labels = [""] * len(boxes) if labels is None else labels
        colors = [_COLORS[k % len(_COLORS)] for k in range(len(boxes))] if assigned_colors is None else assigned_colors
        draw, canvas = ImageDraw.Draw(self.output.canvas), self.output.canvas
        for (x1, y1, x2, y2), label, color in zip(boxes, labels, colors, strict=True):
            color = tuple(round(255 * channel) for channel in to_rgb(color))
            draw.rectangle((x1, y1, x2, y2), outline=color, width=self._line)
            if label:  # above the box where there is room, else below it; inside the image
                _, _, width, height = draw.textbbox((0, 0), label, font=self._font)
                left = max(min(x1, canvas.width - width - 2), 0)
                top = y1 - height - 2 if y1 >= height + 2 else min(y2 + 1, canvas.height - height - 2)
                draw.rectangle((left, top, left + width + 2, top + height + 1), fill="black")
                draw.text((left + 1, top), label, fill=color, font=self._font)
        return self.output
