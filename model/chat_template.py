"""Renders a conversation with the checkpoint's own Jinja template, in a sandbox that cannot change anything."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from .errors import CheckpointError, ModelError, UnsupportedCheckpoint
from .protocol import Message


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """``source`` is Jinja, or None where the checkpoint has no template; ``tokens`` such as ``bos_token``."""

    source: str | None
    tokens: Mapping[str, str] = field(default_factory=dict)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for the assistant's next turn.

        Raises:
            UnsupportedCheckpoint: the checkpoint has no template.
            CheckpointError: the template is broken.
            ModelError: the template refuses these messages, with its own words.
        """
        import jinja2

        if self.source is None:
            raise UnsupportedCheckpoint("this model has no chat template: give it plain text")
        try:
            return _compiled(self.source).render(messages=messages, add_generation_prompt=True, **self.tokens)
        except jinja2.TemplateSyntaxError as error:
            raise CheckpointError(f"the chat template is broken at line {error.lineno}: {error.message}") from error
        except jinja2.TemplateError as error:
            raise ModelError(f"the chat template refuses these messages: {error.message}") from error


@functools.lru_cache(maxsize=4)
def _compiled(source: str) -> Any:
    """Compiling takes far longer than rendering, and every prompt renders."""
    return _environment().from_string(source)


def _environment() -> Any:
    """The names templates expect to find are those of Hugging Face's ``apply_chat_template``."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
