"""What settings say of one another: combinations that cannot work, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Problem
from .keys import dotted
from .load import LoadedSettings
from .schema import Settings


@dataclass(frozen=True, slots=True)
class Conflict:
    """``key`` does not go with ``other``; ``rule`` goes on from the name of ``key``."""

    key: str
    other: str
    rule: str


def cross_checks(loaded: LoadedSettings) -> list[Problem]:
    """One problem for each rule that does not hold, where the first of the two settings was set that was set at all.

    What a variant sets itself comes before what it has in common with everybody.
    """
    problems = [
        Problem(_place(loaded, conflict, variant), f"{conflict.key} {conflict.rule}")
        for variant, settings in [(None, loaded.settings), *loaded.variants.items()]
        for conflict in _conflicts(settings)
    ]
    return list(dict.fromkeys(problems))


def place_of(loaded: LoadedSettings, key: str, variant: str | None) -> str:
    """Where the value of ``key`` that ``variant`` sees was set, as problems name it; None: what everybody sees."""
    own = _within(variant, key)
    return loaded.place(own if own in loaded.origins else key)


def _place(loaded: LoadedSettings, conflict: Conflict, variant: str | None) -> str:
    pair = (conflict.key, conflict.other)
    own = [_within(variant, key) for key in pair]
    places = [loaded.place(key) for key in (*own, *pair)]
    return next((place for place in places if place != "default"), "default")


def _within(variant: str | None, key: str) -> str:
    return f"{dotted(('variants', variant, 'set'))}.{key}" if variant is not None else key


def _conflicts(settings: Settings) -> Iterator[Conflict]:
    voice, model, generation = settings.voice, settings.model, settings.generation
    if voice.endpoint_max_seconds < voice.endpoint_seconds:
        yield Conflict(
            "voice.endpoint_max_seconds",
            "voice.endpoint_seconds",
            f"is {voice.endpoint_max_seconds:g}, less than voice.endpoint_seconds "
            f"({voice.endpoint_seconds:g}): raise it",
        )
    if voice.closing_threshold > voice.opening_threshold:
        yield Conflict(
            "voice.closing_threshold",
            "voice.opening_threshold",
            f"is {voice.closing_threshold:g}, above voice.opening_threshold ({voice.opening_threshold:g}): "
            "lower it, or the gate closes as soon as it opens",
        )
    if model.context_tokens is not None and generation.max_tokens >= model.context_tokens:
        yield Conflict(
            "generation.max_tokens",
            "model.context_tokens",
            f"is {generation.max_tokens}, which leaves no room for a question in model.context_tokens "
            f"({model.context_tokens}): lower it, or raise the other",
        )
    shares = sum(variant.share for variant in settings.variants.values())
    if shares > 1 + 1e-9:
        last = dotted(("variants", max(settings.variants), "share"))
        yield Conflict(last, "variants", f"makes the shares add up to {shares:g}: they may not pass 1")
    if "default" in settings.variants:
        key = "variants.default.share"
        yield Conflict(key, "variants", "cannot be: `default` is what everybody else gets; choose another name")
