"""Turns a float32 OpenVINO transformer into an int8 one, with activation ranges measured on given inputs.

Every multiplication by a constant matrix becomes int8 × int8: weights per output channel, symmetric; activations
per tensor, asymmetric. Before that, each input channel's magnitude is shifted partly into the weights, because a
few channels of a transformer are far larger than the rest (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438).
Axes: R rows (tokens), K input channels, N output channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .openvino_core import shared_core

if TYPE_CHECKING:
    import openvino
    from openvino import Node, Output

_SMOOTHING = 0.5
"""How much of a channel's magnitude moves into the weights: 0 nothing, 1 all (0.5 is the paper's choice)."""
_LEVELS = 256


@dataclass(frozen=True, slots=True)
class _Linear:
    """A multiplication by a constant matrix, ``weights`` [N, K]; ``source`` names what is multiplied."""

    node: Node
    weights: np.ndarray
    source: tuple[str, int]


def quantise(model: openvino.Model, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> openvino.Model:
    """An int8 copy of ``model``; ``batches`` are unpadded inputs (ids, mask) that show the activations' ranges."""
    quantised = model.clone()
    linears = _linears(quantised)
    activations = _measured_inputs(quantised, linears, batches)
    inputs: dict[tuple[str, int], tuple[Output, np.ndarray]] = {}
    for linear in linears:
        if linear.source not in inputs:
            inputs[linear.source] = _quantised_input(linear.node.input_value(0), activations[linear.source])
        source, smoothing_K = inputs[linear.source]
        linear.node.output(0).replace(_quantised_product(source, linear.weights * smoothing_K))
    quantised.validate_nodes_and_infer_types()
    return quantised


def _linears(model: openvino.Model) -> list[_Linear]:
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        weights = _constant(node.input_value(1).get_node())
        if weights is None or weights.ndim != 2:
            continue
        source = node.input_value(0)
        weights_NK = weights if node.get_attributes()["transpose_b"] else weights.T
        found.append(_Linear(node, weights_NK, (source.get_node().get_friendly_name(), source.get_index())))
    return found


def _constant(node: Node) -> np.ndarray | None:
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.data, dtype=np.float32) if node.get_type_name() == "Constant" else None


def _measured_inputs(
    model: openvino.Model, linears: Sequence[_Linear], batches: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[tuple[str, int], np.ndarray]:
    """What goes into each linear, over all batches: float32 [R, K] by source."""
    probe = model.clone()
    probed = {linear.source: linear.node.input_value(0) for linear in _linears(probe)}
    first = len(probe.outputs)
    probe.add_outputs(list(probed.values()))
    compiled = shared_core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen: dict[tuple[str, int], list[np.ndarray]] = {linear.source: [] for linear in linears}
    for ids_BT, mask_BT in batches:
        results = compiled({"input_ids": ids_BT, "attention_mask": mask_BT})
        for position, source in enumerate(probed):
            values = results[compiled.outputs[first + position]]
            seen[source].append(values.reshape(-1, values.shape[-1]).copy())
    return {source: np.concatenate(parts) for source, parts in seen.items()}


def _quantised_input(source: Output, values_RK: np.ndarray) -> tuple[Output, np.ndarray]:
    """``source`` smoothed and rounded to 8 bits, and the factors [K] that the weights take over."""
    from openvino import opset13 as ops

    magnitude_K = np.maximum(np.abs(values_RK).max(axis=0), 1e-5)
    smoothing_K = magnitude_K**_SMOOTHING
    smoothing_K = (smoothing_K / np.exp(np.log(smoothing_K).mean())).astype(np.float32)
    smoothed = ops.multiply(source, ops.constant((1 / smoothing_K).reshape(1, 1, -1)))
    low, high = _range(values_RK / smoothing_K)
    bounds = [ops.constant(np.array([[[bound]]], dtype=np.float32)) for bound in (low, high, low, high)]
    return ops.fake_quantize(smoothed, *bounds, _LEVELS).output(0), smoothing_K


def _range(values: np.ndarray) -> tuple[float, float]:
    """The range that 256 levels cover; widened so that 0 is a level and ``values`` fit."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    step = max(high - low, 1e-6) / (_LEVELS - 1)
    zero = round(-low / step)
    return -zero * step, (_LEVELS - 1 - zero) * step


def _quantised_product(source: Output, weights_NK: np.ndarray) -> Output:
    from openvino import opset13 as ops

    scale_N1 = np.maximum(np.abs(weights_NK).max(axis=1, keepdims=True), 1e-8) / 127
    rounded_NK = np.round(weights_NK / scale_N1).astype(np.int8)
    weights = ops.multiply(ops.convert(ops.constant(rounded_NK), "f32"), ops.constant(scale_N1.astype(np.float32)))
    return ops.matmul(source, weights, False, True).output(0)
