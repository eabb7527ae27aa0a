"""The compiled half of training: gradients summed over batches, and one guarded update from their sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt32

from .errors import BadBatches, InvalidOption
from .objective import Batch, Objective


class TrainState(NamedTuple):
    """What an update changes. ``healthy`` falls at the first update that is not finite, and nothing changes after."""

    trainable: PyTree
    optimiser: PyTree
    step: Int[Array, ""]
    healthy: Bool[Array, ""]


class GradientSums(NamedTuple):
    """Sums over the batches of one update so far."""

    gradients: PyTree
    loss: Float[Array, ""]
    weight: Float[Array, ""]
    batches: UInt32[Array, ""]


class UpdateFigures(NamedTuple):
    """One update, on the host. ``gradient_norm`` is the norm before clipping."""

    loss: float
    weight: float
    gradient_norm: float
    learning_rate: float
    healthy: bool


class Placement:
    """Where arrays live: weights whole on each device of a one-axis mesh, batches split by example."""

    def __init__(self, devices: int | None) -> None:
        """Over the first ``devices`` of JAX's devices (`None`: one).

        Raises:
            InvalidOption: JAX has fewer.
        """
        self.count = devices or 1
        there = jax.devices()
        if self.count > len(there):
            raise InvalidOption(
                f"devices is {self.count}, but JAX sees {len(there)} ({there[0].platform}): ask for fewer"
            )
        mesh = Mesh(np.array(there[: self.count]), ("data",))
        self.whole = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec("data"))

    def weights(self, tree: PyTree) -> PyTree:
        """``tree`` on every device; an array that is already there is not copied."""
        return jax.device_put(tree, self.whole)

    def own(self, tree: PyTree) -> PyTree:
        """As `weights`, but always a copy, which may be donated."""
        # On a CPU `device_put` may share NumPy's memory, which must not be donated; what is computed never does.
        return jax.tree.map(jnp.copy, jax.device_put(tree, self.whole))

    def batch(self, batch: Batch) -> dict[str, Array]:
        """``batch`` split by its first axis.

        Raises:
            BadBatches: the examples do not divide among the devices.
        """
        for name, values in batch.items():
            if self.count > 1 and (values.ndim == 0 or values.shape[0] % self.count):
                raise BadBatches(
                    f"batch entry {name!r} has shape {values.shape}, whose first axis does not divide among "
                    f"{self.count} devices: choose a batch size that is a multiple of {self.count}"
                )
        # The source may fill its arrays anew for the next batch, and a CPU device would share their memory.
        return jax.device_put({name: np.array(values) for name, values in batch.items()}, self._split)


class CompiledUpdate:
    """`add` for each batch of an update, then `apply`. Both take over the buffers of what they change."""

    def __init__(
        self,
        objective: Objective,
        optimiser: optax.GradientTransformation,
        schedule: optax.Schedule,
        placement: Placement,
        seed: int,
    ) -> None:
        self._placement = placement
        self._optimiser = optimiser
        self.add: Callable[..., GradientSums] = jax.jit(
            _adder(objective, seed), donate_argnums=0, out_shardings=placement.whole
        )
        self.apply: Callable[[TrainState, GradientSums], tuple[TrainState, GradientSums, Float[Array, " figures"]]] = (
            jax.jit(_applier(optimiser, schedule), donate_argnums=(0, 1), out_shardings=placement.whole)
        )

    def first_state(self, trainable: PyTree) -> TrainState:
        """The state before the first update; ``trainable`` is copied."""
        state = TrainState(trainable, self._optimiser.init(trainable), np.int32(0), np.bool_(True))  # type: ignore[arg-type]
        return self._placement.own(state)

    def no_sums(self, trainable: PyTree) -> GradientSums:
        """Sums over no batch."""
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), trainable)
        return self._placement.own(GradientSums(zeros, np.float32(0), np.float32(0), np.uint32(0)))  # type: ignore[arg-type]


def _adder(objective: Objective, seed: int) -> Callable[..., GradientSums]:
    def add(sums: GradientSums, trainable: PyTree, step: Int[Array, ""], frozen: PyTree, batch: Batch) -> GradientSums:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), sums.batches)

        def total(weights: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
            loss, weight = objective.loss(weights, frozen, batch, key)
            return loss.astype(jnp.float32), weight.astype(jnp.float32)

        (loss, weight), gradients = jax.value_and_grad(total, has_aux=True)(trainable)
        return GradientSums(
            jax.tree.map(jnp.add, sums.gradients, gradients), sums.loss + loss, sums.weight + weight, sums.batches + 1
        )

    return add


def _applier(
    optimiser: optax.GradientTransformation, schedule: optax.Schedule
) -> Callable[[TrainState, GradientSums], tuple[TrainState, GradientSums, Float[Array, " figures"]]]:
    def apply(state: TrainState, sums: GradientSums) -> tuple[TrainState, GradientSums, Float[Array, " figures"]]:
        loss = sums.loss / sums.weight
        gradients = jax.tree.map(lambda total: total / sums.weight, sums.gradients)
        norm = optax.global_norm(gradients)
        # Without targets the loss is 0 / 0, hence not healthy either.
        healthy = state.healthy & jnp.isfinite(loss) & jnp.isfinite(norm)
        changes, moments = optimiser.update(gradients, state.optimiser, state.trainable)
        trainable = optax.apply_updates(state.trainable, changes)
        trainable, moments = jax.tree.map(
            lambda new, old: jnp.where(healthy, new, old), (trainable, moments), (state.trainable, state.optimiser)
        )
        figures = loss, sums.weight, norm, schedule(state.step), healthy
        packed = jnp.stack([jnp.asarray(figure, jnp.float32) for figure in figures])
        after = TrainState(trainable, moments, state.step + healthy, healthy)
        return after, jax.tree.map(jnp.zeros_like, sums), packed

    return apply


def read_figures(figures: Float[Array, " figures"]) -> UpdateFigures:
    """Waits for the update, and brings its figures to the host."""
    loss, weight, norm, rate, healthy = np.asarray(figures).tolist()
    return UpdateFigures(loss, weight, norm, rate, bool(healthy))


def float32_masters(trainable: PyTree) -> PyTree:
    """``trainable`` in float32, as NumPy arrays.

    Raises:
        InvalidOption: a leaf is not of a floating-point type.
    """
    for path, leaf in jax.tree_util.tree_flatten_with_path(trainable)[0]:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InvalidOption(
                f"trainable{jax.tree_util.keystr(path)} is {leaf.dtype}, which has no gradient: move it to frozen"
            )
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), trainable)


def on_host(tree: PyTree) -> PyTree:
    """A copy as NumPy arrays, which no later update touches."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
