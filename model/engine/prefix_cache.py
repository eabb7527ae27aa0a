"""Keeps the keys and values of prompts' beginnings, so that what begins alike is not run again.

A radix tree over blocks of tokens (SGLang's RadixAttention: Zheng et al., 2312.07104) whose edges are one block long.
The least recently used leaf goes first when the room is full; what a generation holds stays. Pure: a block's value is
whatever the owner puts there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

BLOCK = 32
"""Tokens of a block. A prompt's chunks begin at multiples of it."""

Value = TypeVar("Value")


@dataclass(slots=True, eq=False)
class Block(Generic[Value]):
    """A block in the tree, after those of the tokens before it."""

    value: Value
    children: dict[tuple[int, ...], Block[Value]] = field(default_factory=dict)
    holders: int = 0
    used: int = 0


class PrefixCache(Generic[Value]):
    """At most ``blocks`` blocks in all; networks are kept apart by a key. Used from one thread."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._roots: dict[Hashable, Block[Value | None]] = {}
        self._clock = 0
        self.count = 0

    def hold(self, network: Hashable, tokens: Sequence[int]) -> list[Block[Value]]:
        """The blocks that ``tokens`` begin with, the first one first; they stay until they are given to `release`."""
        found = list(self._walk(network, tokens))
        for block in found:
            block.holders += 1
        return found

    def release(self, blocks: Sequence[Block[Value]]) -> None:
        for block in blocks:
            block.holders -= 1

    def upcoming(self, network: Hashable, tokens: Sequence[int], ran: int) -> Hashable | None:
        """What would be kept next of ``tokens``, of which the first ``ran`` have been run or may be kept.

        Of two sequences for which this is equal, one had better wait for the other. None: nothing would be kept.
        """
        start = ran or BLOCK * sum(1 for _ in self._walk(network, tokens))
        if self._most == 0 or start + BLOCK >= len(tokens):
            return None
        return network, tuple(tokens[: start + BLOCK])

    def missing(self, network: Hashable, tokens: Sequence[int]) -> range:
        """Places in ``tokens`` at which whole blocks begin that are not kept, and could be."""
        if self._most == 0:
            return range(0)
        kept = sum(1 for _ in self._walk(network, tokens))
        return range(kept * BLOCK, len(tokens) - BLOCK + 1, BLOCK)

    def add(self, network: Hashable, tokens: Sequence[int], value: Value) -> bool:
        """Keep the last block of ``tokens``, whose earlier blocks are kept; False where there is no room for it."""
        *_, parent = [self._root(network), *self._walk(network, tokens[:-BLOCK])]
        key = tuple(tokens[-BLOCK:])
        if key in parent.children:
            return True
        parent.holders += 1  # it may be the least recently used leaf itself
        room = self._make_room()
        parent.holders -= 1
        if not room:
            return False
        self._clock += 1
        parent.children[key] = Block(value, used=self._clock)
        self.count += 1
        return True

    def _root(self, network: Hashable) -> Block:
        return self._roots.setdefault(network, Block(None))

    def _walk(self, network: Hashable, tokens: Sequence[int]) -> Iterator[Block]:
        block = self._root(network)
        self._clock += 1
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            child = block.children.get(tuple(tokens[start : start + BLOCK]))
            if child is None:
                return
            child.used = self._clock
            yield child
            block = child

    def _make_room(self) -> bool:
        while self.count >= self._most:
            leaves = [leaf for root in self._roots.values() for leaf in _leaves(root) if not leaf.block.holders]
            if not leaves:
                return False
            oldest = min(leaves, key=lambda leaf: leaf.block.used)
            del oldest.parent.children[oldest.tokens]
            self.count -= 1
        return True


class _Leaf(NamedTuple):
    """A block that none follows, and where it hangs: a block does not know, or it would wait for Python's collector."""

    block: Block
    parent: Block
    tokens: tuple[int, ...]


def _leaves(root: Block) -> Iterator[_Leaf]:
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for tokens, block in parent.children.items():
            if block.children:
                waiting.append(block)
            else:
                yield _Leaf(block, parent, tokens)
