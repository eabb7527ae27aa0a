"""A mesh of devices as a setting says it: ``none``, ``auto``, or the sizes of its axes, ``data=2,tensor=4``."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, WithJsonSchema

_SIZE = "[1-9][0-9]{0,3}"
_AXES = f"data={_SIZE}(,tensor={_SIZE})?|tensor={_SIZE}(,data={_SIZE})?"
_PATTERN = f"^(none|auto|{_AXES})$"


class MeshSizes(NamedTuple):
    """Devices along each axis; an axis that is not named has one."""

    data: int = 1
    tensor: int = 1

    @property
    def devices(self) -> int:
        return self.data * self.tensor


def mesh_sizes(value: str) -> MeshSizes | None:
    """The sizes that ``value`` names; None for ``none`` and ``auto``, which name none.

    Raises:
        ValueError: it is none of these.
    """
    if re.fullmatch(_PATTERN, value) is None:
        raise ValueError('must be "none", "auto", or sizes of axes such as "tensor=4" or "data=2,tensor=4"')
    named = dict(axis.split("=") for axis in value.split(",") if "=" in axis)
    return MeshSizes(**{axis: int(size) for axis, size in named.items()}) if named else None


def _checked(value: str) -> str:
    mesh_sizes(value)
    return value


MeshText = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": _PATTERN})]
"""The type of the setting."""
