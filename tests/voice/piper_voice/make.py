"""Writes a voice for tests: each phoneme sounds as 256 equal samples times the length scale. Needs the package onnx.

``python make.py`` writes ``en_XX-tiny.onnx`` beside itself; the description beside it was written by hand.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

constants = {
    "frame": np.array(256, np.float32),
    "loudness": np.array(0.005, np.float32),
    "second": np.array(1, np.int64),
    "one": np.array([1], np.int64),
    "row": np.array([1, 1, -1], np.int64),
    "column": np.array([1, -1, 1], np.int64),
}
nodes = [
    helper.make_node("Gather", ["scales", "second"], ["scale"]),
    helper.make_node("Mul", ["scale", "frame"], ["length"]),
    helper.make_node("Cast", ["length"], ["samples"], to=TensorProto.INT64),
    helper.make_node("Unsqueeze", ["samples", "zero"], ["samples1"]),
    helper.make_node("Concat", ["one", "one", "samples1"], ["shape"], axis=0),
    helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["ids", "loudness"], ["levels"]),
    helper.make_node("Reshape", ["levels", "column"], ["frames"]),
    helper.make_node("Expand", ["frames", "shape"], ["sound"]),
    helper.make_node("Reshape", ["sound", "row"], ["output"]),
]
constants["zero"] = np.array([0], np.int64)
graph = helper.make_graph(
    nodes,
    "tiny",
    [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ],
    [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "samples"])],
    [numpy_helper.from_array(value, name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
save(model, Path(__file__).with_name("en_XX-tiny.onnx"))
