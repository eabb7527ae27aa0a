"""What the loop asks of the thing it trains and of the data it trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Batch: TypeAlias = Mapping[str, np.ndarray]
"""Named arrays whose first axis is the examples. Only a few shapes: each is compiled once."""

Evaluate: TypeAlias = Callable[[PyTree], Mapping[str, float]]
"""Figures of the weights by name. The weights are lent for the call: the next update overwrites them."""


class Objective(Protocol):
    """A loss that is a sum over targets."""

    def loss(
        self, trainable: PyTree, frozen: PyTree, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum of the losses over the batch's targets (float32), and the number of targets (the sum's weight).

        Pure and traceable by `jax.jit` and `jax.grad`. ``key`` is another one for each batch of a run.
        """
        ...


class BatchSource(Protocol):
    """The same batches in the same order each time an epoch is asked for."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number`` (from 0), a function of the source's seed and ``number`` alone."""
        ...

    def steps(self, number: int) -> int:
        """How many batches ``epoch(number)`` yields."""
        ...
