"""What settings say of one another: combinations that cannot work, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Problem
from .load import LoadedSettings
from .schema import Settings


def cross_checks(loaded: LoadedSettings) -> list[Problem]:
    """One problem for each rule that does not hold, at the place of the setting to change."""
    problems = []
    for settings in (loaded.settings, *loaded.variants.values()):
        problems += [Problem(loaded.place(key), f"{key} {rule}") for key, rule in _broken(settings)]
    return list(dict.fromkeys(problems))


def _broken(settings: Settings) -> Iterator[tuple[str, str]]:
    voice, model, generation = settings.voice, settings.model, settings.generation
    if voice.endpoint_max_seconds < voice.endpoint_seconds:
        yield (
            "voice.endpoint_max_seconds",
            (
                f"is {voice.endpoint_max_seconds:g}, less than voice.endpoint_seconds "
                f"({voice.endpoint_seconds:g}): raise it"
            ),
        )
    if voice.closing_threshold > voice.opening_threshold:
        yield (
            "voice.closing_threshold",
            (
                f"is {voice.closing_threshold:g}, above voice.opening_threshold ({voice.opening_threshold:g}): "
                "lower it, or the gate closes as soon as it opens"
            ),
        )
    if model.context_tokens is not None and generation.max_tokens >= model.context_tokens:
        yield (
            "generation.max_tokens",
            (
                f"is {generation.max_tokens}, which leaves no room for a question in model.context_tokens "
                f"({model.context_tokens}): lower it, or raise the other"
            ),
        )
    shares = sum(variant.share for variant in settings.variants.values())
    if shares > 1 + 1e-9:
        yield f"variants.{max(settings.variants)}.share", f"makes the shares add up to {shares:g}: they may not pass 1"
    if "default" in settings.variants:
        yield "variants.default.share", "cannot be: `default` is what everybody else gets; choose another name"
