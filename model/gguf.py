"""Reads the GGUF container: header, metadata and where each tensor's bytes stand (the file stays mapped).

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import CheckpointError, UnsupportedCheckpoint
from .ggml_types import TensorType, tensor_type

_MAGIC = b"GGUF"
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MOST_DIMENSIONS = 4
_MOST_ENTRIES = 1 << 24
_MOST_NESTED = 8  # arrays within arrays; no known file has any


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of the file. ``shape`` is in row-major order, the contiguous axis last; ``offset`` in bytes."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int


class GgufFile:
    """An opened GGUF file.

    Raises:
        CheckpointError: the file is not GGUF, ends too early or contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                status = os.fstat(file.fileno())
        except ValueError as error:
            raise CheckpointError(f"{path}: the file is empty, not a GGUF model") from error
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        try:
            self.metadata, self._tensors, self._data_start = _header_of(path, version)
            self._check_length()
        except (struct.error, UnicodeDecodeError, OverflowError, IndexError) as error:
            raise CheckpointError(f"{path}: damaged or cut short in its header") from error
        except CheckpointError as error:
            raise type(error)(f"{path}: {error}") from error

    @property
    def tensors(self) -> Mapping[str, TensorEntry]:
        return self._tensors

    def raw(self, name: str) -> np.ndarray:
        """The tensor's bytes as they stand in the file: uint8, one dimension, a read-only view."""
        entry = self._tensors[name]
        return np.frombuffer(self._bytes, np.uint8, entry.type.byte_count(entry.shape), self._data_start + entry.offset)

    def _check_length(self) -> None:
        for entry in self._tensors.values():
            end = self._data_start + entry.offset + entry.type.byte_count(entry.shape)
            if end > len(self._bytes):
                raise CheckpointError(
                    f"cut short: tensor {entry.name} ends at byte {end}, the file at {len(self._bytes)}"
                )


class _Cursor:
    """A position in the mapped bytes that moves on with every value read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        end = self.position + length
        if end > len(self.data):
            raise IndexError(end)
        value = self.data[self.position : end].decode("utf-8", "surrogateescape")
        self.position = end
        return value

    def strings(self, count: int) -> list[str]:
        """Many strings at once; a vocabulary has tens of thousands, so this loop is kept bare."""
        data, position, unpack = self.data, self.position, struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            (length,) = unpack(data, position)
            start = position + 8
            position = start + length
            if position > len(data):
                raise IndexError(position)
            found.append(data[start:position].decode("utf-8", "surrogateescape"))
        self.position = position
        return found

    def array(self, within: int = 0) -> list[Any]:
        """``within`` is how many arrays it stands in."""
        if within > _MOST_NESTED:
            raise CheckpointError(f"damaged: metadata of more than {_MOST_NESTED} arrays within one another")
        kind, count = self.scalar("I"), self.scalar("Q")
        if count > len(self.data):
            raise IndexError(count)
        if kind == _STRING:
            return self.strings(count)
        if kind == _ARRAY:
            return [self.array(within + 1) for _ in range(count)]
        code = _code_of(kind)
        values = list(struct.unpack_from(f"<{count}{code}", self.data, self.position))
        self.position += struct.calcsize(f"<{count}{code}")
        return values


def _code_of(kind: int) -> str:
    if kind not in _SCALARS:
        raise CheckpointError(f"damaged: metadata of unknown type {kind}")
    return _SCALARS[kind]


class _Header(NamedTuple):
    """What stands before the tensors, and where these begin."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorEntry]
    data_start: int


@functools.lru_cache(maxsize=2)
def _header_of(path: Path, version: tuple[int, ...]) -> _Header:  # noqa: ARG001 -- tells when the file is another
    """Kept, as a file is opened to ask for its size and again to run it, and a vocabulary takes Python some 0.1 s."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data)
        metadata, tensors = _read_header(cursor)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise CheckpointError(f"damaged: tensors aligned to {alignment!r} bytes")
    return _Header(metadata, tensors, -(-cursor.position // alignment) * alignment)


def _read_header(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    magic = bytes(cursor.data[:4])
    if magic != _MAGIC:
        raise CheckpointError(f"not a GGUF model (it begins with {magic!r})")
    cursor.position = 4
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise UnsupportedCheckpoint(f"GGUF version {version} is not supported (2 and 3 are)")
    tensor_count, entry_count = cursor.scalar("Q"), cursor.scalar("Q")
    if max(tensor_count, entry_count) > _MOST_ENTRIES:
        raise CheckpointError(f"damaged: it claims {tensor_count} tensors and {entry_count} metadata entries")
    metadata = {}
    readers: dict[int, Callable[[], Any]] = {_STRING: cursor.string, _ARRAY: cursor.array}
    for _ in range(entry_count):
        key, kind = cursor.string(), cursor.scalar("I")
        metadata[key] = readers[kind]() if kind in readers else cursor.scalar(_code_of(kind))
    entries = [_read_entry(cursor) for _ in range(tensor_count)]
    return metadata, {entry.name: entry for entry in entries}


def _read_entry(cursor: _Cursor) -> TensorEntry:
    name, dimensions = cursor.string(), cursor.scalar("I")
    if dimensions > _MOST_DIMENSIONS:
        raise CheckpointError(f"damaged: tensor {name[:80]!r} has {dimensions} dimensions")
    shape = tuple(reversed([cursor.scalar("Q") for _ in range(dimensions)]))
    kind, offset = cursor.scalar("I"), cursor.scalar("Q")
    entry = TensorEntry(name, shape, tensor_type(kind, name), offset)
    try:
        entry.type.byte_count(shape)
    except CheckpointError as error:
        raise CheckpointError(f"tensor {name[:80]}: {error}") from error
    return entry
