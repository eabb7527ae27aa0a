"""How a setting is declared: type, range, default, meaning, unit, and when a change of it takes effect."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Applies = Literal["at once", "next request", "next document", "next utterance", "next answer", "restart"]
"""When a change takes effect in a running process. All but "restart" are live."""

Takes = Literal["value", "file or name", "text or file"]
"""How text is read: as it is; as a path where it begins with ``./``, ``../`` or ``~/``; or as the path, then, of a text
file whose content is the value."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys. ``APPLIES`` holds for fields that say nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    APPLIES: ClassVar[Applies] = "next request"


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    applies: Applies | None = None,
    takes: Takes = "value",
    **limits: Any,
) -> Any:
    """A field of a `Section`; ``limits`` are pydantic's constraints (``ge``, ``gt``, ``le``, ``lt``)."""
    marks = {"x-unit": unit, "x-applies": applies, "x-takes": "" if takes == "value" else takes}
    extra = {name: mark for name, mark in marks.items() if mark}
    return Field(default=default, description=description, json_schema_extra=extra or None, **limits)
