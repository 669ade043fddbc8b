"""What those kinds of networks have in common whose students and teachers see the same single picture."""

from typing import Any

from torch import Tensor


class OnePicture:
    """A part of :class:`Task`, which says what the methods do."""

    def view(self, inputs: list[dict], role: str) -> list[dict]:
        if role == "student":
            return inputs
        return [{key: item[key] for key in ("image", "padded_size") if key in item} for item in inputs]

    def example_inputs(self, image: Tensor) -> list[dict]:
        return [{"image": image}]

    def size(self, item: dict) -> tuple[int, int]:
        height, width = item["image"].shape[-2:]
        return height, width

    def targets(self, network: Any, inputs: list[dict]) -> Any:
        return network.ground_truth(inputs)
