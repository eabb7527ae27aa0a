"""The settings that come with Capibara for kinds of machines and uses, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, slots=True)
class Preset:
    """A file of settings that others extend; ``about`` says for whom it is."""

    name: str
    about: str
    file: Path


def presets() -> tuple[Preset, ...]:
    """All there are, by name."""
    return tuple(Preset(name, _about(file), file) for name in preset_names() if (file := preset_file(name)))


def preset_names() -> tuple[str, ...]:
    """The names that ``extends`` and ``capibara config init`` take."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def preset_file(name: str) -> Path | None:
    """The file of the preset ``name``; None: there is none."""
    return PRESETS / f"{name}.toml" if name in preset_names() else None


def no_preset(name: str) -> str:
    """What to say where ``name`` is none."""
    return f"there is no preset {name}; there are {', '.join(preset_names())}"


def _about(file: Path) -> str:
    """The comment on the first line."""
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
