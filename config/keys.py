"""The schema as a flat list of settings: looking keys up, and finding the nearest name for a wrong one."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from .errors import ConfigError, Problem
from .fields import Applies, Section, Takes
from .schema import Settings

NAME = "<name>"
"""Stands in a setting's path where the user chooses the name, as in ``rag.collections.<name>.alpha``."""

_VARIANT = ("variants", NAME, "set")
"""What follows in a path is that of a setting again: ``variants.short.set.assistant.max_words``."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the schema. ``annotation`` carries the constraints too, ready for a pydantic `TypeAdapter`."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    description: str
    unit: str
    applies: Applies
    takes: Takes

    @property
    def key(self) -> str:
        return _pattern(self.path)

    @property
    def live(self) -> bool:
        """A change takes effect in the running process."""
        return self.applies != "restart"

    @property
    def secret(self) -> bool:
        return SecretStr in _types_in(self.annotation)

    @property
    def optional(self) -> bool:
        return type(None) in _types_in(self.annotation)

    @property
    def structured(self) -> bool:
        """True for lists: as text they are written like TOML or JSON values."""
        return tuple in _types_in(self.annotation)

    @property
    def is_path(self) -> bool:
        return Path in _types_in(self.annotation)

    @property
    def number_or_flag(self) -> bool:
        return bool({bool, int, float} & _types_in(self.annotation))

    def names(self, path: Sequence[str]) -> bool:
        """True when ``path`` is this setting's, with any names where the user may choose."""
        return len(path) == len(self.path) and _begins(self.path, path)


def dotted(path: Sequence[str | int]) -> str:
    """``path`` as it is written in messages and on the command line: as TOML has it, for `split_key` to take apart."""
    return ".".join(str(part) if isinstance(part, int) or _is_bare(part) else _quoted(part) for part in path)


@functools.cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting of the schema, in its order."""
    return tuple(_walk(Settings, ()))


def setting_at(path: Sequence[str]) -> Setting | None:
    """The setting that ``path`` names, or None; within a variant, the setting that differs."""
    if (inner := within_variant(path)) is not None:
        return setting_at(inner)
    return next((setting for setting in all_settings() if setting.names(path)), None)


def is_section(path: Sequence[str]) -> bool:
    """True when ``path`` names a group of settings, such as ``rag`` or ``rag.collections``."""
    if (inner := within_variant(path)) is not None:
        return not inner or is_section(inner)
    return any(len(path) < len(setting.path) and _begins(setting.path, path) for setting in all_settings())


def known_prefix(key: str) -> None:
    """Make sure that there is such a setting or section; an empty ``key`` stands for all of them.

    Raises:
        ConfigError: there is none; the nearest name is told.
    """
    from .sources import Entry, Origin, split_key, unknown_key  # they build on this module

    origin = Origin("runtime", f"runtime {key}")
    try:
        path = split_key(key) if key else ()
    except ValueError as error:
        raise ConfigError([Problem(origin.where, str(error))]) from error
    if path and not is_section(path) and (problem := unknown_key(Entry(path, None, origin))):
        raise ConfigError([problem])


def within_variant(path: Sequence[str]) -> tuple[str, ...] | None:
    """What follows ``variants.<name>.set`` in ``path``; None: it does not begin so."""
    inside = len(path) >= len(_VARIANT) and _begins(_VARIANT, path)
    return tuple(path[len(_VARIANT) :]) if inside else None


def nearest(path: Sequence[str]) -> str | None:
    """The known key or section most like ``path``, when one is close enough to be meant."""
    if inner := within_variant(path):
        found = nearest(inner)
        return found and f"{dotted(path[: len(_VARIANT)])}.{found}"
    settings = all_settings()
    sections = {
        setting.path[:depth]
        for setting in settings
        for depth in range(1, len(setting.path))
        if setting.path[depth - 1] != NAME
    }
    scored = [(_likeness(path, _named_like(known, path)), known) for known in [*(s.path for s in settings), *sections]]
    best, known = max(scored, key=lambda pair: (pair[0], pair[1]))
    return _pattern(_named_like(known, path)) if best >= 0.65 else None


def _walk(section: type[Section], prefix: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        path = (*prefix, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, path)
        elif (named := _named_section(field.annotation)) is not None:
            yield from _walk(named, (*path, NAME))
        elif get_origin(field.annotation) is not dict:  # the settings of a variant are those of the whole schema
            yield _setting(path, field, section)


def _named_section(annotation: Any) -> type[Section] | None:
    """The section that each of a table's names stands for: `RagSettings.collections` holds one for each collection."""
    values = get_args(annotation)[1:] if get_origin(annotation) is dict else ()
    return next((value for value in values if isinstance(value, type) and issubclass(value, Section)), None)


def _setting(path: tuple[str, ...], field: FieldInfo, section: type[Section]) -> Setting:
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Setting(
        path,
        annotation,
        field.get_default(call_default_factory=True),
        field.description or "",
        extra.get("x-unit", ""),
        extra.get("x-applies", section.APPLIES),
        extra.get("x-takes", "value"),
    )


def _types_in(annotation: Any) -> set[Any]:
    """The plain types an annotation is made of: ``tuple[str, ...] | None`` gives tuple, str and NoneType."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types_in(get_args(annotation)[0])
    if origin in (Union, UnionType, tuple):
        inner = (_types_in(part) for part in get_args(annotation) if part is not Ellipsis)
        return set().union({origin} if origin is tuple else set(), *inner)
    return {annotation}


def _begins(known: Sequence[str], path: Sequence[str]) -> bool:
    return all(part in (NAME, given) for part, given in zip(known, path, strict=False))


def _named_like(known: Sequence[str], path: Sequence[str]) -> tuple[str, ...]:
    """``known`` with the names the user chose in ``path``."""
    return tuple(
        path[depth] if part == NAME and depth < len(path) and path[:depth] == known[:depth] else part
        for depth, part in enumerate(known)
    )


def _likeness(path: Sequence[str], known: Sequence[str]) -> float:
    """From 0 to 1; the right last name in another section still counts."""
    whole = _ratio(dotted(path), _pattern(known))
    last = _ratio(path[-1], known[-1])
    return max(whole, 0.9 * last + 0.1 * whole) if len(known) > 1 else max(whole, last)


def _ratio(one: str, other: str) -> float:
    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    return difflib.SequenceMatcher(None, plain(one), plain(other)).ratio()


def _is_bare(part: str) -> bool:
    return part != "" and all(c.isascii() and (c.isalnum() or c in "_-") for c in part)


def _quoted(part: str) -> str:
    """As a basic string of TOML (https://toml.io/en/v1.0.0#string)."""
    return '"' + "".join(_ESCAPES.get(character) or _printable(character) for character in part) + '"'


def _printable(character: str) -> str:
    return f"\\u{ord(character):04X}" if character < " " or character == "\x7f" else character


def _pattern(path: Sequence[str]) -> str:
    """As `dotted`, with `NAME` as it stands."""
    return ".".join(NAME if part == NAME else dotted((part,)) for part in path)
