"""``capibara talk``: a conversation by voice."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .collector import leave_out_what_is_loaded
from .failures import INTERRUPTED, WRONG_USAGE, Failure
from .hearing import audio_name, impossible_is_wrong_usage, note_silence, open_audio
from .interrupt import EndingAtOnce
from .invocation import Collection, Invocation, command
from .output import note

if TYPE_CHECKING:
    from ...config.schema import VoiceSettings
    from ...voice.protocols import AudioSink, AudioSource
    from ..converse import SpokenConversation
    from .conversing import View

_LOADING = "Loading the models …"
_LISTENING = "Listening. Ctrl-C stops an answer, and leaves when there is none."


@command
def talk(
    invocation: Invocation,
    collection: Collection = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="Hear this recording, not a microphone.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Hear the recording as fast as it is answered.")] = False,
    speech: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the speech to a WAV file.")] = None,
    mute: Annotated[bool, typer.Option("--mute", help="Show the answers and do not speak them.")] = False,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Microphone and loudspeaker: part of the name, or the number."),
    ] = None,
) -> None:
    """Ask by voice, and hear the answers. Speak to interrupt one.

    With --json every event is a JSON document on a line of its own. --audio - reads standard input.
    """
    _check_usage(audio, fast, speech, mute, device)
    with EndingAtOnce(invocation.stdout, as_json=invocation.as_json) as ending, impossible_is_wrong_usage():
        left = _talk(invocation, ending, collection, audio, fast, speech, mute, _device(device))
    if left and audio is not None:
        raise typer.Exit(INTERRUPTED)


def _check_usage(audio: Path | None, fast: bool, speech: Path | None, mute: bool, device: str | None) -> None:
    wrong = None
    if fast and audio is None:
        wrong = "--fast needs --audio: a microphone has its own pace"
    elif speech is not None and mute:
        wrong = "--speech and --mute: with --mute nothing is spoken that could be written to a file"
    elif device is not None and audio is not None and (mute or speech is not None or fast):
        instead = "--mute" if mute else "--speech" if speech is not None else "--fast"
        wrong = f"--device {device}: with --audio and {instead} neither a microphone nor a loudspeaker is used"
    if wrong is not None:
        raise Failure(wrong, exit_code=WRONG_USAGE, kind="UsageError")


def _talk(
    invocation: Invocation,
    ending: EndingAtOnce,
    collection: str | None,
    audio: Path | None,
    fast: bool,
    speech: Path | None,
    mute: bool,
    device: str | int | None,
) -> bool:
    """Hold the conversation; True when Ctrl-C ended it. What is missing is said before any model is loaded."""
    import asyncio

    from ...voice.models import find_speech_model
    from ...voice.packages import require_packages
    from .conversing import JsonView, TerminalView

    loaded, _ = invocation.settings()
    settings = loaded.settings.voice
    require_packages(microphone=audio is None)
    find_speech_model(settings.model)
    say = (lambda _text: None) if invocation.as_json else note
    stop = threading.Event()
    with contextlib.ExitStack() as opened:
        opened.callback(stop.set)
        source = _source(audio, device, stop)
        opened.callback(source.close)
        assistant = opened.enter_context(invocation.open_filled(collection, watch=True))
        sink = None if mute else _sink(settings, fast, speech, device)
        if sink is not None:
            opened.callback(sink.close)
        say(_LOADING)
        ending.run(lambda: assistant.warm_up(speech=True))
        leave_out_what_is_loaded()
        # What speaks is left to the settings, which may change while the conversation goes on.
        conversation = assistant.converse(
            source, sink, collection=collection, live=not fast, paced=audio is not None and not fast
        )
        view = JsonView(invocation.stdout, conversation.conversation) if invocation.as_json else TerminalView()
        say(_LISTENING if audio is None else f"Listening to {audio_name(audio)} …")
        try:
            left = asyncio.run(_show(conversation, view, ending))
        finally:
            view.end(conversation)
        if audio is not None and not (left or view.heard_words or invocation.as_json):
            note_silence(audio)
    return left


def _device(name: str | None) -> str | int | None:
    """As PortAudio takes it: digits are the number of a device."""
    return int(name) if name is not None and name.isdecimal() else name


def _source(audio: Path | None, device: str | int | None, stop: threading.Event) -> AudioSource:
    if audio is not None:
        return open_audio(audio, None, stop)
    from ...voice.microphone import Microphone

    return Microphone(device)


def _sink(settings: VoiceSettings, fast: bool, speech: Path | None, device: str | int | None) -> AudioSink | None:
    """Where speech goes; nowhere, and why, where there is nothing to speak with or to play it on.

    Raises:
        Failure: speech was to be written to a file, and nothing can speak.
    """
    from ...voice.errors import VoiceError, VoiceUnavailable
    from ...voice.loudspeaker import Loudspeaker
    from ...voice.playback import VirtualSink, WavSink
    from ...voice.synthesis import open_synthesizer

    try:
        synthesizer = open_synthesizer(settings)
        if synthesizer is not None:
            synthesizer.warm_up()
        elif speech is not None:
            message = f"--speech {speech}: nothing is spoken, because voice.synthesizer is none"
            raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")
        else:
            return None
    except VoiceError as error:
        if speech is not None:
            raise Failure(f"--speech {speech}: nothing can speak: {error}", kind=type(error).__name__) from error
        note(f"capibara: answers are shown, not spoken: {error}")
        return None
    if speech is not None:
        return WavSink(speech)
    if fast:
        return VirtualSink()
    try:
        return Loudspeaker(device)
    except VoiceUnavailable as error:
        note(f"capibara: answers are shown, not spoken: {error}")
        return None


async def _show(conversation: SpokenConversation, view: View, ending: EndingAtOnce) -> bool:
    """Show the conversation to its end; True when Ctrl-C ended it. Another one does not wait for that end."""
    import asyncio

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    left = False

    def interrupted() -> None:
        nonlocal left
        if left:
            ending.end()
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
        ending.rearm()
    return left
