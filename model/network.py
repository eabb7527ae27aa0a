"""The networks of one checkpoint, and what goes with them: each part is loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .draft_model import DraftModel
from .errors import UnknownAdapter
from .once import Once

if TYPE_CHECKING:
    from .compiled_steps import StepShape
    from .rulebook import Rulebook
    from .runner import DecoderRunner
    from .tokenizer import TextTokenizer


class Network:
    """The plain network, those with adapters, the one that drafts for all of them, tokenizer and rules. Thread-safe."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        load_runner: Callable[[], DecoderRunner],
        adapters: Mapping[str, Callable[[], DecoderRunner]],
        draft: DraftModel | None,
    ) -> None:
        self.tokenizer = tokenizer = Once(checkpoint.tokenizer)
        self.plain = Once(load_runner)
        self.adapted = {name: Once(load) for name, load in adapters.items()}
        self.rules = Once(lambda: _new_rulebook(tokenizer(), checkpoint.config.vocabulary))
        self.draft = None if draft is None else Once(lambda: draft.runner_for(checkpoint.name, tokenizer()))

    def runner(self, adapter: str | None) -> Once[DecoderRunner]:
        """
        Raises:
            UnknownAdapter: there is none of that name.
        """
        if adapter is None:
            return self.plain
        if adapter not in self.adapted:
            raise UnknownAdapter(adapter, self.adapted)
        return self.adapted[adapter]

    def shapes_run(self, adapter: str | None) -> frozenset[StepShape]:
        """What the network with that adapter has run, if there is one and it is loaded."""
        runner = self.plain if adapter is None else self.adapted.get(adapter)
        return runner().shapes if runner is not None and runner.made else frozenset()

    def make_draft_ready(self) -> None:
        """Load what drafts, if anything does, and make its steps ready.

        Raises:
            DraftMismatch, CheckpointError, DeviceNotFound: as `DraftModel.runner_for`.
        """
        if self.draft is not None:
            from .chunks import SMALLEST_CACHE
            from .engine.draft_network import drafting_steps

            self.draft().make_ready(drafting_steps(SMALLEST_CACHE))


def _new_rulebook(tokenizer: TextTokenizer, outputs: int) -> Rulebook:
    from .rulebook import Rulebook

    return Rulebook(tokenizer, outputs)
