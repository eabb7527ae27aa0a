"""Progress of long work on standard error, with rate and time left.

Where standard error is no terminal, work of minutes is silent and work of hours says a line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from .output import name_on_line, note

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from ...rag.progress import IngestProgress


_SECONDS_BETWEEN_LINES = 60.0


class _Bar:
    """A rich progress bar that exists only on a terminal."""

    def __init__(self, *, shown: bool = True) -> None:
        self._bar: Progress | None = None
        self._shown = shown

    def _columns(self) -> list[ProgressColumn]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            # Lines written meanwhile stand above the bar, unless they go elsewhere than to the terminal.
            above = sys.stdout.isatty()
            console = Console(stderr=True)
            self._bar = Progress(*self._columns(), console=console, transient=True, redirect_stdout=above)
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, what: str, done: float, total: float | None) -> None:
        """Show that ``done`` of ``total`` (None: unknown) is reached, at the moment with ``what``."""
        if self._bar is not None:
            if done < self._bar.tasks[0].completed:  # another stretch of work, with a speed of its own
                self._bar.reset(self._task)
            self._bar.update(self._task, description=name_on_line(what)[:48], completed=done, total=total)


class ByteProgress(_Bar):
    """Counts bytes."""

    def _columns(self) -> list[ProgressColumn]:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        return [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ]


class IngestBar(_Bar):
    """Counts the bytes of an ingest run, because files differ too much in size to tell the time left."""

    def _columns(self) -> list[ProgressColumn]:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        return [TextColumn("{task.description}", markup=False), BarColumn(bar_width=12), TimeRemainingColumn()]

    def show(self, state: IngestProgress) -> None:
        """Show how far the run has come."""
        counts = f"{state.files_done}/{state.files_total} files, {state.chunks_per_second:.0f} chunks/s"
        name = state.current.rpartition("/")[2]
        self.update(f"{counts} {name[:24]}", state.bytes_done, state.bytes_total)


class CountProgress(_Bar):
    """Counts pieces of work such as files or questions; ``unit`` is their name in the plural."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def _columns(self) -> list[ProgressColumn]:
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
        from rich.text import Text

        unit = self._unit

        class RateColumn(ProgressColumn):
            """Pieces per second."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.1f} {unit}/s" if task.speed else f"- {unit}/s")

        return [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
        ]


class LongProgress(CountProgress):
    """Work of hours, which may run without a terminal: there, a line at the start of each stretch and every minute.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(unit)
        self._clock = clock
        self._began: tuple[float, float] | None = None
        self._reached, self._told = 0.0, 0.0

    def update(self, what: str, done: float, total: float | None) -> None:
        super().update(what, done, total)
        now = self._clock()
        if self._began is None or done < self._reached:  # another stretch of work
            self._began, self._told = (now, done), float("-inf")
        self._reached = done
        if self._bar is None and now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            note(f"capibara: {what}: {done:,.0f}{_of(total)} {self._unit}{self._left(now, done, total)}")

    def _left(self, now: float, done: float, total: float | None) -> str:
        began, before = self._began or (now, done)
        if total is None or done <= before:
            return ""
        minutes = (now - began) / (done - before) * (total - done) / 60
        return f", {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def _of(total: float | None) -> str:
    return "" if total is None else f" of {total:,.0f}"


class AudioBar(_Bar):
    """Counts seconds of audio."""

    def _columns(self) -> list[ProgressColumn]:
        from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class SpeedColumn(ProgressColumn):
            """How much faster than real time it goes."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.1f} × real time" if task.speed else "")

        return [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f} s", markup=False),
            SpeedColumn(),
            TimeRemainingColumn(),
        ]

    def show(self, name: str, done: float, total: float | None) -> None:
        """``done`` of ``total`` seconds are heard."""
        self.update(name, done, None if total is None else max(done, total))
