"""Rewrites a settings file of an earlier version, or of a prototype before the first, for today's schema.

A file that is laid out like today's is edited where it stands: comments and order stay. A flat file of a prototype, in
TOML or JSON, becomes a new one. What cannot be carried over is dropped, and every key is reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .drafts import resolve_draft
from .errors import ConfigError, Problem
from .files import FILE_KEYS, file_content, parsed, too_large
from .fingerprint import LARGEST_FILE
from .keys import all_settings, dotted, is_section, setting_at
from .migrate_edit import edited, fresh
from .migrate_legacy import Lost, pieces, rank, rule_for
from .migrate_values import fitted
from .migrations import moved_to, value_now
from .schema import SCHEMA_VERSION
from .sources import Entry, Origin, leaves, split_key, unknown_key
from .values import shown

Fate = Literal["mapped", "dropped", "unchanged"]
_MASK = '"**********"'
_SECRET = re.compile(r"secret|passw|(?:^|[_.-])(?:key|token)s?(?:$|[_.-])", re.IGNORECASE)
"""Names of keys whose values are not shown, also where no setting takes them."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one key. ``path`` is today's, None where it was dropped; ``rank``: a lower one is taken first."""

    old_key: str
    source: tuple[str, ...]
    old: Any
    fate: Fate
    path: tuple[str, ...] | None
    new: Any
    why: str = ""
    rank: int = 0

    @property
    def new_key(self) -> str:
        return dotted(self.path) if self.path else ""

    @property
    def old_text(self) -> str:
        """As TOML would have it; a secret is masked."""
        return _MASK if self._secret else shown(self.old)

    @property
    def new_text(self) -> str:
        return "" if self.path is None else _MASK if self._secret else shown(self.new)

    @property
    def _secret(self) -> bool:
        setting = setting_at(self.path) if self.path else None
        if setting is not None:
            return setting.secret
        return _SECRET.search(self.old_key) is not None


@dataclass(frozen=True, slots=True)
class Migration:
    """The file as it should be now, and how each key of the old one fared."""

    text: str
    steps: tuple[Step, ...]

    @property
    def relative(self) -> tuple[str, ...]:
        """The keys whose paths are relative to the folder that the file lies in."""
        return tuple(step.new_key for step in self.steps if step.path and _is_relative(step.path, step.new))


def migrate(old: Path, target: Path | None = None) -> Migration:
    """Rewrite ``old`` for today's schema; nothing is written. ``target``: where the result will lie, else in its place.

    Raises:
        ConfigError: ``old`` cannot be read, or the result would not load there.
    """
    target = target or old.with_suffix(".toml")
    text, tree = _parsed(old)
    version = tree.get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        message = f"written for settings of version {version}, this Capibara knows {SCHEMA_VERSION}: update it"
        raise ConfigError([Problem(str(old), message)])
    steps = _one_each([step for path, value in leaves(tree) for step in _steps(path, value)])
    if text is not None and _laid_out_like_today(tree):
        result = edited(text, steps)
    else:
        result = fresh(old.name, sorted(steps, key=_schema_order))
    _must_load(target, result)
    return Migration(result, tuple(steps))


def _parsed(old: Path) -> tuple[str | None, dict[str, Any]]:
    """The text, None for JSON, and the values."""
    try:
        content = file_content(old)
        if len(content) > LARGEST_FILE:
            raise ConfigError([too_large(old)])
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(str(old), f"cannot be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(old), "not UTF-8 text; save the file as UTF-8")]) from error
    if old.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError([Problem(str(old), f"not valid JSON: {error}")]) from error
        if not isinstance(tree, dict):
            raise ConfigError([Problem(str(old), "must be a JSON object with a value for each key")])
        return None, tree
    return text, parsed(old, text)[0]


def _laid_out_like_today(tree: Mapping[str, Any]) -> bool:
    if any(key in tree for key in FILE_KEYS) or any(is_section((key,)) and isinstance(tree[key], dict) for key in tree):
        return True
    return all(setting_at((key,)) or moved_to(key) for key in tree)


def _steps(path: tuple[str, ...], value: Any) -> list[Step]:
    name = dotted(path)
    if name == "schema_version":
        fate: Fate = "unchanged" if value == SCHEMA_VERSION else "mapped"
        return [Step(name, path, value, fate, path, SCHEMA_VERSION)]
    if name in FILE_KEYS:
        return [Step(name, path, value, "unchanged", path, value)]
    if setting_at(path):
        if (renamed := value_now(name, value)) != value:
            return [_carried(Step(name, path, value, "mapped", path, renamed, f"{shown(value)} is called so today"))]
        return [_carried(Step(name, path, value, "unchanged", path, value))]
    if (moved := moved_to(name)) is not None:
        return [_carried(Step(name, path, value, "mapped", split_key(moved), value, "renamed", 1))]
    if len(path) == 1 and (rule_for(name) or name == "models"):
        return [_by_rule(label, path, rule, piece) for label, rule, piece in pieces(name, value)]
    problem = unknown_key(Entry(path, value, Origin("file")))
    return [Step(name, path, value, "dropped", None, None, problem.message if problem else "")]


def _by_rule(label: str, source: tuple[str, ...], name: str, value: Any) -> Step:
    rule = rule_for(name)
    assert rule is not None
    dropped = Step(label, source, value, "dropped", None, None, rule.note)
    if rule.key is None:
        return dropped
    try:
        converted = rule.convert(value)
    except Lost as reason:
        return replace(dropped, why=str(reason))
    path = split_key(rule.key)
    return _carried(Step(label, source, value, "mapped", path, converted, rule.note, 2 + rank(name)))


def _carried(step: Step) -> Step:
    """``step`` with a value that today's setting takes, or dropped."""
    setting = setting_at(step.path) if step.path else None
    assert setting is not None
    assert step.path is not None
    try:
        value, change = fitted(step.path, step.new, setting)
    except Lost as reason:
        return replace(step, fate="dropped", path=None, new=None, why=str(reason))
    why = "; ".join(filter(None, (change, step.why)))
    return replace(step, new=value, why=why, fate="mapped" if change else step.fate)


def _one_each(steps: list[Step]) -> list[Step]:
    """Each setting once: where several keys lead to it, the first in rank."""
    first: dict[tuple[str, ...], Step] = {}
    for step in sorted(steps, key=lambda step: step.rank):
        if step.path is not None:
            first.setdefault(step.path, step)
    kept = []
    for step in steps:
        if step.path is not None and (winner := first[step.path]) is not step:
            why = f"{step.new_key} is taken from {winner.old_key}"
            step = replace(step, fate="dropped", path=None, new=None, why=why)
        kept.append(step)
    return kept


def _schema_order(step: Step) -> int:
    order = [setting for setting in all_settings() if step.path and setting.names(step.path)]
    return all_settings().index(order[0]) if order else -1


def _is_relative(path: tuple[str, ...], value: Any) -> bool:
    setting = setting_at(path)
    if setting is None or not isinstance(value, str) or value == "none":
        return False
    if setting.takes != "value":
        return value.startswith(("./", "../"))
    return setting.is_path and value[:1] not in ("/", "~")


def _must_load(target: Path, text: str) -> None:
    try:
        resolve_draft(target, text)
    except ConfigError as error:
        raise ConfigError(_of_the_result(problem, target) for problem in error.problems) from error


def _of_the_result(problem: Problem, target: Path) -> Problem:
    """The lines of the result are not those of the file that the user sees."""
    inside = problem.where.startswith(f"{target}:")
    return Problem(problem.where, f"as rewritten: {problem.message}") if inside else problem
