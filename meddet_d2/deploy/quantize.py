"""Post-training static quantisation of an exported network to int8, by onnxruntime."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from .exporters import quiet_export


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: Iterable[dict[str, np.ndarray]]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.inputs, None)


def quantized(network: onnx.ModelProto, inputs: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """The convolutions in int8, everything else as it was.

    Weights are quantised channel by channel and symmetrically, activations by the range that the given inputs show.

    Args:
        network: inputs and outputs float32.
        inputs: some dozens of representative inputs, {name: array}.

    Raises:
        ValueError: there is no input.
    """
    inputs = list(inputs)
    if not inputs:
        raise ValueError("There is no image to calibrate int8 with; give a data set that has some.")
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (str(Path(folder) / f"{name}.onnx") for name in ("source", "prepared", "target"))
        onnx.save(network, source)
        # Fuses what can be fused, so that nothing is quantised in between.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        with quiet_export():
            quantize_static(
                prepared,
                target,
                _Reader(inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        return onnx.load(target)
