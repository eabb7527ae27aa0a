"""``capibara talk``: a conversation by voice."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import INTERRUPTED, WRONG_USAGE, Failure
from .invocation import Collection, Invocation, command
from .output import note

if TYPE_CHECKING:
    from ...config.schema import VoiceSettings
    from ...voice.protocols import AudioSink, AudioSource, Synthesizer
    from ..converse import SpokenConversation
    from .conversing import View

_LISTENING = "Listening. Ctrl-C stops an answer, and leaves when there is none."


@command
def talk(
    invocation: Invocation,
    collection: Collection = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="Hear this recording, not a microphone.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Hear the recording as fast as it is answered.")] = False,
    speech: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the speech to a WAV file.")] = None,
    mute: Annotated[bool, typer.Option("--mute", help="Show the answers and do not speak them.")] = False,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Microphone and loudspeaker to use.")] = None,
) -> None:
    """Ask by voice, and hear the answers. Speak to interrupt one.

    With --json every event is a JSON document on a line of its own. --audio - reads standard input.
    """
    if fast and audio is None:
        raise Failure("--fast needs --audio: a microphone has its own pace", exit_code=WRONG_USAGE, kind="UsageError")
    import asyncio

    from ...voice.models import find_speech_model
    from .conversing import JsonView, TerminalView

    loaded, _ = invocation.settings()
    settings = loaded.settings.voice
    find_speech_model(settings.model)  # what is missing is said before anything is loaded
    view = JsonView(invocation.stdout) if invocation.as_json else TerminalView()
    with contextlib.ExitStack() as opened:
        source = _source(audio, device)
        opened.callback(source.close)
        assistant = opened.enter_context(invocation.open_filled(collection))
        assistant.warm_up(speech=True)
        synthesizer, sink = (None, None) if mute else _voice(settings, fast, speech, device)
        conversation = assistant.converse(
            source, sink, collection=collection, synthesizer=synthesizer, live=not fast, paced=audio is not None
        )
        if audio is None:
            note(_LISTENING)
        try:
            left = asyncio.run(_show(conversation, view))
        finally:
            view.end(conversation)
    if left and audio is not None:
        raise typer.Exit(INTERRUPTED)


def _source(audio: Path | None, device: str | None) -> AudioSource:
    if audio is None:
        from ...voice.microphone import Microphone

        return Microphone(device)
    if str(audio) == "-":
        from ...voice.standard_input import open_pipe
        from ...voice.values import AudioFormat

        return open_pipe(sys.stdin.buffer, AudioFormat())  # type: ignore[arg-type]
    from ...voice.audio_files import AudioFile

    return AudioFile(audio)


def _voice(
    settings: VoiceSettings, fast: bool, speech: Path | None, device: str | None
) -> tuple[Synthesizer | None, AudioSink | None]:
    """What speaks, and where to; nothing, and why, where one of them is missing."""
    from ...voice.errors import VoiceError, VoiceUnavailable
    from ...voice.loudspeaker import Loudspeaker
    from ...voice.playback import VirtualSink, WavSink
    from ...voice.synthesis import open_synthesizer

    try:
        synthesizer = open_synthesizer(settings)
        if synthesizer is None:
            return None, None
        synthesizer.warm_up()
    except VoiceError as error:
        note(f"capibara: answers are shown, not spoken: {error}")
        return None, None
    if speech is not None:
        return synthesizer, WavSink(speech)
    if fast:
        return synthesizer, VirtualSink()
    try:
        return synthesizer, Loudspeaker(device)
    except VoiceUnavailable as error:
        note(f"capibara: answers are shown, not spoken: {error}")
        return None, None


async def _show(conversation: SpokenConversation, view: View) -> bool:
    """Show the conversation to its end; True when Ctrl-C ended it."""
    import asyncio

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    left = False

    def interrupted() -> None:
        nonlocal left
        if not conversation.interrupt() and task is not None:
            left = True
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        async with contextlib.aclosing(conversation.__aiter__()) as events:
            async for event in events:
                view.show(event)
    except asyncio.CancelledError:
        if not left:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return left
