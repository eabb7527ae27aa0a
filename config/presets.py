"""The settings that come with Capibara for kinds of machines and uses, by name."""

from __future__ import annotations

from pathlib import Path

PRESETS = Path(__file__).parent / "presets"


def preset_names() -> tuple[str, ...]:
    """The names that ``extends`` and ``capibara config init`` take."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def preset_file(name: str) -> Path | None:
    """The file of the preset ``name``; None: there is none."""
    return PRESETS / f"{name}.toml" if name in preset_names() else None
