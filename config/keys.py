"""The schema as a flat list of settings: looking keys up, and finding the nearest name for a wrong one."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from .schema import Section, Settings

NAME = "<name>"
"""Stands in a setting's path where the user chooses the name, as in ``rag.collections.<name>.alpha``."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the schema. ``annotation`` carries the constraints too, ready for a pydantic `TypeAdapter`."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    description: str
    file_or_name: bool

    @property
    def key(self) -> str:
        return dotted(self.path)

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
    def number_or_flag(self) -> bool:
        return bool({bool, int, float} & _types_in(self.annotation))

    def names(self, path: Sequence[str]) -> bool:
        """True when ``path`` is this setting's, with any names where the user may choose."""
        return len(path) == len(self.path) and _begins(self.path, path)


def dotted(path: Sequence[str | int]) -> str:
    """``path`` as it is written in messages and on the command line."""
    return ".".join(str(part) if isinstance(part, int) or _is_bare(part) else f'"{part}"' for part in path)


@functools.cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting of the schema, in its order."""
    return tuple(_walk(Settings, ()))


def setting_at(path: Sequence[str]) -> Setting | None:
    """The setting that ``path`` names, or None."""
    return next((setting for setting in all_settings() if setting.names(path)), None)


def is_section(path: Sequence[str]) -> bool:
    """True when ``path`` names a group of settings, such as ``rag`` or ``rag.collections``."""
    return any(len(path) < len(setting.path) and _begins(setting.path, path) for setting in all_settings())


def nearest(path: Sequence[str]) -> str | None:
    """The known key or section most like ``path``, when one is close enough to be meant."""
    settings = all_settings()
    sections = {
        setting.path[:depth]
        for setting in settings
        for depth in range(1, len(setting.path))
        if setting.path[depth - 1] != NAME
    }
    scored = [(_likeness(path, _named_like(known, path)), known) for known in [*(s.path for s in settings), *sections]]
    best, known = max(scored, key=lambda pair: (pair[0], pair[1]))
    return dotted(_named_like(known, path)) if best >= 0.65 else None


def _walk(section: type[Section], prefix: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        path = (*prefix, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, path)
        elif get_origin(field.annotation) is dict:
            yield from _walk(get_args(field.annotation)[1], (*path, NAME))
        else:
            yield _setting(path, field)


def _setting(path: tuple[str, ...], field: FieldInfo) -> Setting:
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = field.get_default(call_default_factory=True)
    return Setting(path, annotation, default, field.description or "", bool(extra.get("file_or_name")))


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
    whole = _ratio(dotted(path), dotted(known))
    last = _ratio(path[-1], known[-1])
    return max(whole, 0.9 * last + 0.1 * whole) if len(known) > 1 else max(whole, last)


def _ratio(one: str, other: str) -> float:
    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    return difflib.SequenceMatcher(None, plain(one), plain(other)).ratio()


def _is_bare(part: str) -> bool:
    return part == NAME or (part != "" and all(c.isascii() and (c.isalnum() or c in "_-") for c in part))
