"""Learning-rate schedules and optimisers, made from the options with optax."""

from __future__ import annotations

import jax
import optax
from jaxtyping import PyTree

from .errors import InvalidOption
from .options import TrainingOptions


def warmup_updates(options: TrainingOptions, steps: int) -> int:
    """How many of ``steps`` updates are warm-up.

    Raises:
        InvalidOption: the warm-up leaves no update after it.
    """
    warmup = options.warmup_steps or int(options.warmup_fraction * steps)
    if warmup and warmup >= steps:
        raise InvalidOption(f"warmup_steps is {warmup}, but the run has only {steps} updates: warm up for fewer")
    return warmup


def learning_rate_schedule(options: TrainingOptions, steps: int) -> optax.Schedule:
    """The learning rate of update ``s`` (counted from 0) of ``steps``.

    With W warm-up updates: peak · (s + 1) / (W + 1) while s < W, so that no update is made with a rate of zero; the
    peak at s = W; then down to ``final_rate`` · peak, which update ``steps`` (one past the last) would have.
    """
    peak, final = options.learning_rate, options.learning_rate * options.final_rate
    warmup = warmup_updates(options, steps)
    after = steps - warmup
    if options.schedule == "constant":
        decay = optax.constant_schedule(peak)
    elif options.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, after, alpha=options.final_rate)
    else:
        decay = optax.polynomial_schedule(peak, final, options.power if options.schedule == "polynomial" else 1, after)
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(peak / (warmup + 1), peak, warmup), decay], [warmup])


def make_optimiser(options: TrainingOptions, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW or SGD, with the rates of ``schedule``."""
    parts = [] if options.clip_norm is None else [optax.clip_by_global_norm(options.clip_norm)]
    if options.optimiser == "adamw":
        first, second = options.betas
        parts.append(
            optax.adamw(schedule, first, second, options.epsilon, weight_decay=options.weight_decay, mask=_matrices)
        )
    else:
        if options.weight_decay:
            parts.append(optax.add_decayed_weights(options.weight_decay, _matrices))
        parts.append(optax.sgd(schedule, options.momentum or None))
    return optax.chain(*parts)


def _matrices(trainable: PyTree) -> PyTree:
    """Marks what decays: leaves of two axes and more, hence neither biases nor the scales of norms."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, trainable)
