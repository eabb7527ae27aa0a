"""Many generations, given in the order in which they were asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from .errors import Overloaded
from .protocol import Delta, Generation
from .request import Request, Submit


def finished(asked: Request, pieces: Iterator[Delta]) -> Generation:
    """The whole of a generation that was begun."""
    for _ in pieces:
        pass
    return asked.transcript.generation()


def in_order(requests: Sequence[Request], submit: Submit, most: int) -> Iterator[Generation]:
    """Each one's generation, with at most so many handed over at once. Those that are left when the iterator is closed
    are given up.

    Raises:
        Overloaded: others wait for so many that not even one of these is taken.
    """
    ahead: deque[tuple[Request, Iterator[Delta]]] = deque()
    try:
        for asked in requests:
            if len(ahead) == most:
                yield finished(*ahead.popleft())
            while (begun := _begun(asked, submit, last_try=not ahead)) is None:
                yield finished(*ahead.popleft())
            ahead.append((asked, begun))
        while ahead:
            yield finished(*ahead.popleft())
    finally:
        for asked, _ in ahead:
            asked.leave()


def _begun(asked: Request, submit: Submit, last_try: bool) -> Iterator[Delta] | None:
    """Its pieces; None: others fill the queue."""
    try:
        return asked.begin(submit)
    except Overloaded:
        if last_try:
            raise
        return None
