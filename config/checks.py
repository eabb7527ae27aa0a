"""What settings say of one another: combinations that cannot work, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Problem
from .load import LoadedSettings
from .schema import Settings


@dataclass(frozen=True, slots=True)
class Conflict:
    """``key`` does not go with ``other``; ``rule`` goes on from the name of ``key``."""

    key: str
    other: str
    rule: str


def cross_checks(loaded: LoadedSettings) -> list[Problem]:
    """One problem for each rule that does not hold, where the first of the two settings was set that was set at all."""
    problems = []
    for settings in (loaded.settings, *loaded.variants.values()):
        for conflict in _conflicts(settings):
            places = [loaded.place(key) for key in (conflict.key, conflict.other)]
            where = next((place for place in places if place != "default"), "default")
            problems.append(Problem(where, f"{conflict.key} {conflict.rule}"))
    return list(dict.fromkeys(problems))


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
        last = f"variants.{max(settings.variants)}.share"
        yield Conflict(last, "variants", f"makes the shares add up to {shares:g}: they may not pass 1")
    if "default" in settings.variants:
        key = "variants.default.share"
        yield Conflict(key, "variants", "cannot be: `default` is what everybody else gets; choose another name")
