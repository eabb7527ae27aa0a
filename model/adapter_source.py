"""Where an adapter lies, how it is to be applied, and whether it was made for the model at hand."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .adapter_files import CONFIG_FILE, WEIGHTS_FILE, Adapter, check_fits, read_adapter
from .architecture import DecoderConfig
from .checkpoint import Checkpoint
from .checksums import verify_checksums
from .errors import AdapterError, AdapterMismatch
from .matrices import matrices, module_shapes

AdapterMode = Literal["merged", "low-rank"]

_RECORD = "capibara_base"
_QUANTISED = re.compile(r"[-._](?:i?q\d\w*|b?f(?:p)?(?:16|32)|gguf)$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter in PEFT's layout, and how it is applied.

    ``merged``: the matrices it changes are kept a second time, with the change worked in; a step costs what it costs
    without. ``low-rank``: the base's matrices serve, and each step computes the change beside them: more work, little
    memory, and no rounding of the change where the base is in 8 bits.
    """

    folder: Path
    mode: AdapterMode = "merged"


@dataclass(frozen=True, slots=True)
class RecordedBase:
    """What an adapter says it was made for. ``architecture`` is as in `architecture_digest`, empty where not said."""

    name: str
    architecture: str


def read_fitting(folder: Path, checkpoint: Checkpoint) -> Adapter:
    """The adapter in ``folder``, checked against its checksums, if it has any, and against the model.

    Raises:
        AdapterError: it is missing, damaged, or of a kind that is not supported.
        AdapterMismatch: it was made for another model; names both, and the module and shapes that differ.
    """
    recorded = recorded_base(folder)
    verify_checksums(folder, (CONFIG_FILE, WEIGHTS_FILE))
    adapter = read_adapter(folder)
    check_fits(adapter, module_shapes(checkpoint.config), checkpoint.name)
    if adapter.whole:
        raise AdapterError(
            f"{folder}: it replaces {sorted(adapter.whole)[0]} as a whole; only low-rank changes are supported here"
        )
    if recorded.architecture and recorded.architecture != architecture_digest(checkpoint.config):
        raise AdapterMismatch(
            f"the adapter was made for {recorded.name} and does not fit {checkpoint.name}: "
            "the two differ in their layers or in the shapes of their matrices"
        )
    if recorded.name and not same_base(recorded.name, checkpoint.name):
        _LOG.warning("the adapter in %s was made for %s; its shapes fit %s", folder, recorded.name, checkpoint.name)
    return adapter


def recorded_base(folder: Path) -> RecordedBase:
    """What the adapter in ``folder`` was made for; its weights are not read.

    Raises:
        AdapterError: there is no configuration, or it is damaged.
    """
    config = _read_config(folder)
    record = config.get(_RECORD)
    ours = record if isinstance(record, dict) else {}
    return RecordedBase(
        str(ours.get("name") or config.get("base_model_name_or_path") or ""), str(ours.get("architecture") or "")
    )


def record_base(folder: Path, name: str, config: DecoderConfig) -> None:
    """Write into an adapter's configuration what it was made for, beside PEFT's own keys (other tools pass it over).

    Raises:
        AdapterError: there is no configuration, or it is damaged.
        OSError: it cannot be written.
    """
    record = {"name": name, "architecture": architecture_digest(config)}
    unfinished = folder / f".{CONFIG_FILE}"
    unfinished.write_text(json.dumps(_read_config(folder) | {_RECORD: record}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / CONFIG_FILE)


def architecture_digest(config: DecoderConfig) -> str:
    """Equal for networks whose matrices have the same names and shapes."""
    shapes = {part: (rows, matrix.columns) for matrix in matrices(config) for part, rows in matrix.parts.items()}
    return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]


def same_base(one: str, other: str) -> bool:
    """The two names are of one model: ``owner/`` in front and a quantisation behind do not count."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    plain = name.rstrip("/").rpartition("/")[2].lower()
    while plain != (shorter := _QUANTISED.sub("", plain)):
        plain = shorter
    return plain


def _read_config(folder: Path) -> dict[str, object]:
    file = folder / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{folder} is no adapter: it has no {CONFIG_FILE}") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{file}: not a JSON object")
    return config
