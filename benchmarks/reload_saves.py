"""Every way of saving, many times, on events and on polling: each save is to give exactly one generation."""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from save_styles import STYLES, mount

from capibara.config.live import LiveSettings
from capibara.config.load import read_sources, resolve

_WAIT_SECONDS = 30.0
_AFTER_SECONDS = 0.3
"""Longer than the watcher's quiet time: a second generation would have come by then."""


def saves(times: int) -> list[dict[str, object]]:
    """One row for each style and way of watching; the styles are saved side by side, each in a folder of its own."""
    rows = []
    for polling in (False, True):
        with ThreadPoolExecutor(len(STYLES)) as pool:
            rows += pool.map(lambda style, polling=polling: _style(style, polling, times), STYLES)
    return rows


def _style(style: str, polling: bool, times: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "capibara.toml"
        (mount if style == "..data swap" else Path.write_text)(file, _text(0))

        def read():
            return read_sources(file, required=False, environ={})

        settings = LiveSettings(resolve(read()), read)
        applied = threading.Semaphore(0)
        settings.on_change([], lambda _: applied.release())
        settings.watch(polling=polling)
        seconds, wrong = [], 0
        for number in range(1, times + 1):
            before = settings.generation
            STYLES[style](file, _text(number))
            saved = time.perf_counter()
            came = applied.acquire(timeout=_WAIT_SECONDS)
            seconds.append(time.perf_counter() - saved)
            time.sleep(_AFTER_SECONDS)
            right = came and settings.generation == before + 1 and settings.snapshot.settings.rag.rrf_k == number
            wrong += not right
            while applied.acquire(blocking=False):
                pass
        watching, failed = settings.watching, settings.metrics.exposition().count('result="failed"')
        settings.close()
    seconds.sort()
    return {
        "style": style,
        "watching": watching.mode,
        "saves": times,
        "not exactly one": wrong,
        "failed reloads": "some" if failed else 0,
        "median s": round(seconds[len(seconds) // 2], 3),
        "worst s": round(seconds[-1], 3),
    }


def _text(number: int) -> str:
    return f"# the {number}th\n[rag]\nrrf_k = {number or 500}\nalpha = 0.5\n"
