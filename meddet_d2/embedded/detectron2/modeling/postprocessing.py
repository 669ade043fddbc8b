"""From the size that the network saw to the size that the caller asks for."""

from detectron2.structures import Instances


def detector_postprocess(results: Instances, output_height: int, output_width: int) -> Instances:
    """Scale ``pred_boxes`` and ``pred_keypoints`` to an image of ``output_height`` x ``output_width`` pixels.

    Boxes are clipped to that image, and instances whose box is then empty are dropped. ``results`` stays as it is.
    """
    height, width = results.image_size
    scaled = Instances((output_height, output_width), **results.get_fields())
    boxes = results.pred_boxes.clone()
    boxes.scale(output_width / width, output_height / height)
    boxes.clip(scaled.image_size)
    scaled.pred_boxes = boxes
    if scaled.has("pred_keypoints"):
        factors = boxes.tensor.new_tensor([output_width / width, output_height / height, 1.0])
        scaled.pred_keypoints = results.pred_keypoints * factors
    return scaled[boxes.nonempty()]
