"""Edits the text of a TOML file as a person would: comments, order and everything that is not meant stay.

`tomlkit` keeps the text, but in files with dotted keys, inline tables or tables out of order it may write a key into
the wrong table, or what is no TOML. So every edit is read back with `tomllib`, and the first that says what was meant
is taken.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from .keys import dotted
from .positions import key_lines

_LOG = logging.getLogger(__name__)

Edit = Callable[[str], str]


class Unplaceable(Exception):
    """A key cannot be set in a file as it is written; the message names it."""


def with_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """``text`` with the key ``path`` set; tables that it lacks are made.

    Raises:
        tomllib.TOMLDecodeError: ``text`` is no TOML.
        Unplaceable: a part of ``path`` has a single value where a table is needed.
    """
    plain = _plain(value)
    meant = tomllib.loads(text)
    if not _put(meant, path, plain):
        raise Unplaceable(f"{dotted(path)} lies below a key that is no table")
    whole = text if text.endswith("\n") or not text else f"{text}\n"  # tomlkit may add to the last line otherwise
    return _first_that_reads(whole, meant, _ways_to_set(path, plain), path)


def without_key(text: str, path: tuple[str, ...]) -> str:
    """``text`` less the key or table ``path``; a table it was the last of stays, and so do comments.

    Raises:
        tomllib.TOMLDecodeError: ``text`` is no TOML.
        Unplaceable: it stands where it cannot be taken out alone.
    """
    meant = tomllib.loads(text)
    _taken_out(meant, path)
    ways = (lambda text: _cut_out(text, path), _by_tomlkit(lambda document: _remove(document, path)))
    return _first_that_reads(text, meant, iter(ways), path)


def _ways_to_set(path: tuple[str, ...], value: Any) -> Iterator[Edit]:
    """From the prettiest to the surest."""
    yield _by_tomlkit(lambda document: _set_in_tables(document, path, value))
    for depth in range(len(path) - 1, -1, -1):
        yield _by_tomlkit(lambda document, depth=depth: _set_dotted(document, path, depth, value))


def _first_that_reads(text: str, meant: dict[str, Any], ways: Iterator[Edit], path: tuple[str, ...]) -> str:
    for edit in (*ways, _by_tomlkit(lambda document: _write_anew(document, meant, path[0]))):
        try:
            edited = edit(text)
            if tomllib.loads(edited) == meant:
                return edited
        except Exception:  # noqa: BLE001 -- whatever tomlkit stumbles over, the next way is tried
            _LOG.debug("one way to change %s does not fit this file", dotted(path), exc_info=True)
    raise Unplaceable(f"{dotted(path)} cannot be changed without damage to the rest")


def _by_tomlkit(change: Callable[[Any], None]) -> Edit:
    def edit(text: str) -> str:
        import tomlkit

        document = tomlkit.parse(text)
        change(document)
        return tomlkit.dumps(document)

    return edit


def _set_in_tables(document: Any, path: tuple[str, ...], value: Any) -> None:
    import tomlkit
    from tomlkit.items import InlineTable

    table = document
    for depth, name in enumerate(path[:-1], start=1):
        if name not in table:
            inline = isinstance(table, InlineTable)
            new = tomlkit.inline_table() if inline else tomlkit.table(is_super_table=depth < len(path) - 1)
            table.add(name, new)
        table = table[name]
    table[path[-1]] = value


def _set_dotted(document: Any, path: tuple[str, ...], depth: int, value: Any) -> None:
    """As ``c.d = 1`` in the table ``a.b``, where ``depth`` is 2."""
    import tomlkit

    table = document
    for name in path[:depth]:
        table = table[name]
    table.append(tomlkit.key(list(path[depth:])), tomlkit.item(value))


def _cut_out(text: str, path: tuple[str, ...]) -> str:
    """Without the lines of a table: tomlkit would take the comments above the next one for a part of it."""
    lines, places = text.split("\n"), key_lines(text)
    start = places[path] - 1
    if not lines[start].lstrip().startswith("["):
        raise ValueError("no table")
    others = [line - 1 for key, line in places.items() if line - 1 > start and key[: len(path)] != path]
    end = min(others, default=len(lines))
    while end > start and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return "\n".join(lines[:start] + lines[end:])


def _remove(document: Any, path: tuple[str, ...]) -> None:
    table = document
    for name in path[:-1]:
        table = table[name]
    del table[path[-1]]


def _write_anew(document: Any, meant: dict[str, Any], section: str) -> None:
    """Write the whole section again. Its comments are lost: the last resort."""
    import tomlkit

    if section in document:
        document.remove(section)
    if section in meant:
        document.add(section, tomlkit.item(meant[section]))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    """Set ``path`` in ``tree``; False where something other than a table is in the way."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            return False
    tree[path[-1]] = value
    return True


def _taken_out(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        tree = tree[name]
    del tree[path[-1]]


def _plain(value: Any) -> Any:
    """In types that TOML has."""
    if value is None:
        return "none"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    return value
