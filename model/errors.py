"""What can go wrong in this room; every message is one line that names the thing and the way out."""

from __future__ import annotations

from collections.abc import Iterable


class ModelError(Exception):
    """Base of the room's errors."""


class ModelNotFound(ModelError):
    """No model stands where the settings point."""


class CheckpointError(ModelError):
    """A checkpoint is damaged or incomplete."""


class UnsupportedCheckpoint(CheckpointError):
    """A sound checkpoint asks for something this room does not compute; the message names it."""


class HeadPatternError(ModelError):
    """A file that says which heads stream is missing, damaged, or made for another model."""


class DeviceNotFound(ModelError):
    """The device that the settings name is not there."""


class DraftMismatch(ModelError):
    """A model cannot draft for another one, because their tokens differ."""

    def __init__(self, draft: str, model: str, token: int, text: str, drafted: str) -> None:
        """``token`` is ``text`` in the model and ``drafted`` in the one that was to draft for it."""
        super().__init__(
            f"{draft} cannot draft for {model}: token {token} is {drafted!r} in the one and {text!r} in the other. Set "
            "model.draft to a model of the same family, or to none"
        )


class PromptTooLong(ModelError):
    """The prompt leaves no room for a single token of answer."""

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens
        super().__init__(
            f"the prompt has {prompt_tokens} tokens, but the model's context holds {context_tokens}, "
            "one of them for the answer: shorten the prompt"
        )


class UnknownToken(ModelError):
    """A prompt has a token that the network does not: tokenizer and weights do not belong together."""

    def __init__(self, model: str, token: int, text: str, vocabulary: int) -> None:
        super().__init__(
            f"{model} has {vocabulary} tokens, and its tokenizer makes {text!r} of the prompt the token {token}: use "
            "the tokenizer that the weights were trained with, or leave this text out"
        )


class EmptyPrompt(ModelError):
    """There is nothing to continue."""

    def __init__(self) -> None:
        super().__init__("the prompt is empty: give at least one character")


class NumericalError(ModelError):
    """The network produced logits that are not finite."""


class Overloaded(ModelError):
    """As many generations wait as may; this one was not taken."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(
            f"{waiting} generations wait already, as many as may: try again when some have finished, or raise "
            "model.waiting_generations"
        )


class EngineStopped(ModelError):
    """A generation was asked for, or was under way, while the program ended."""

    def __init__(self) -> None:
        super().__init__("the program is ending: no generation is run any more")


class GenerationFailed(ModelError):
    """A generation could not be run to its end, for a reason that is not its own: memory, a device, a defect."""

    def __init__(self, reason: Exception) -> None:
        said = str(reason).strip().splitlines()
        super().__init__(
            f"the model could not be run ({type(reason).__name__}{f': {said[0]}' if said else ''}): try again; if "
            "memory ran out, lower model.context_tokens or model.concurrent_generations"
        )


class DeadlineExceeded(ModelError):
    """A generation was not done when it had to be."""

    def __init__(self) -> None:
        super().__init__("the generation was not done by its deadline: allow more time, or ask for fewer tokens")


class AdapterError(ModelError):
    """An adapter's files are missing, damaged, or ask for something this room does not compute; it is named."""


class AdapterMismatch(AdapterError):
    """A sound adapter was made for another base."""


class UnknownAdapter(AdapterError):
    """A request names an adapter that the model does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        there = f"it has {', '.join(self.known)}" if self.known else "it has none"
        super().__init__(f"the model has no adapter {name!r}: {there}")


class ConstraintError(ModelError, ValueError):
    """What a generation's output must keep to is ill-formed, or cannot be kept to by this model; the message says why.

    A `ValueError` too, as for the other options of a request.
    """


class UnknownModel(ModelError):
    """A request names a model that is not among those that were given."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"there is no model {name!r}: there are {', '.join(self.known) or 'none'}")


class ModelTooLarge(ModelError):
    """A model does not fit into memory beside those that have to stay."""

    def __init__(self, name: str, needed: int, available: int, freed: int, staying: Iterable[str] = ()) -> None:
        """``freed`` bytes are had by unloading others; ``staying`` says why the rest stay, one text for each."""
        self.name, self.needed, self.available, self.freed = name, needed, available, freed
        stays = "".join(f"; {each}" for each in staying)
        super().__init__(
            f"model {name!r} needs about {needed / 2**20:,.0f} MiB, and {available / 2**20:,.0f} MiB are free, "
            f"{(available + freed) / 2**20:,.0f} MiB with all idle models unloaded{stays}: set compute to int8 or "
            "int4-weights, lower context_tokens or concurrent_generations, or choose a smaller model"
        )


class LoadTimeout(ModelError, TimeoutError):
    """A model was not loaded by the time that its caller would wait for it; it goes on being loaded."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds = name, seconds
        super().__init__(f"model {name!r} was not loaded within {seconds:g} seconds: allow more time, or ask again")


class OrchestratorClosed(ModelError):
    """A model was asked for, or waited for, of an orchestrator that lets all models go."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"model {name!r} is lent out no more: the orchestrator has been closed; make another one")
