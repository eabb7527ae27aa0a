"""What the voice commands say of wrong usage, of what is not installed, and of audio in which nobody speaks."""

from __future__ import annotations

import io
import json
import re
import sys
import wave

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.assistant.cli import main
from capibara.voice.espeak import Espeak

from ..voice.recorded import FOLDER, audio

MODEL = FOLDER.parent / "model"
COST = str(FOLDER / "en-how-much-does-a-night-in.flac")
HEARS = ("--set", f"voice.model={MODEL}")
TEXT_ONLY = ("--set", "model.path=/nowhere/model.gguf")
fixture = pytest.mark.skipif(not (MODEL / "model.bin").is_file(), reason="the speech model of the fixture is not there")
speaks = pytest.mark.skipif(not Espeak.available(), reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with one note."""
    folder = tmp_path_factory.mktemp("voice")
    (folder / "note.txt").write_text("A night in Casa Garza costs 1,850 pesos per person, with breakfast.")
    with Assistant.open(folder / "data") as assistant:
        assistant.ingest(folder / "note.txt")
    return folder / "data"


@pytest.fixture(autouse=True)
def at_home(alone, monkeypatch, data):
    """Alone, but for the note."""
    monkeypatch.setenv("CAPIBARA_DATA_DIR", str(data))


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def silence(path, seconds: float) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(audio(seconds).tobytes())
    return path.name


def type_in(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))


@fixture
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe", "-", "--rate", "0"], "a sample rate of 0 Hz"),
        (["transcribe", "-", "--channels", "99"], "99 channels"),
        (["transcribe", COST, "--language", "xx"], f"--language xx: the speech model {MODEL} knows en, es"),
        (["transcribe", COST, "--set", "voice.language=xx"], f"voice.language = xx: the speech model {MODEL} knows"),
        (["transcribe", COST, "--set", "voice.compute=float16"], "voice.compute = float16 is not possible on this CPU"),
        (["talk", "--audio", COST, "--mute", "--speech", "s.wav"], "--speech and --mute"),
        (["talk", "--audio", COST, "--mute", "--device", "foo"], "--device foo: with --audio and --mute"),
        (["talk", "--audio", COST, "--fast", "--device", "foo"], "--device foo: with --audio and --fast"),
        (["talk", "--audio", COST, "--speech", "s.wav", "--device", "foo"], "--device foo: with --audio and --speech"),
        (["talk", "--audio", COST, "--speech", "s.wav", "--set", "voice.synthesizer=none"], "--speech s.wav: nothing"),
    ],
)
def test_what_cannot_be_is_wrong_usage_in_one_line(run, tmp_path, arguments, message):
    code, out, err = run(*arguments, *HEARS)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "s.wav").exists()


@fixture
@pytest.mark.parametrize("setting", ["voice.language=xx", "voice.compute=float16"])
def test_what_the_speech_model_cannot_do_is_wrong_usage_of_talk(run, setting):
    code, _, err = run("talk", "--audio", COST, "--fast", "--mute", *HEARS, *TEXT_ONLY, "--set", setting)
    assert code == 2
    last = err.splitlines()[-1]
    assert "voice.language" in last or "voice.compute" in last
    assert setting.partition("=")[2] in last


@pytest.mark.parametrize("command", [["transcribe", COST], ["talk", "--audio", COST]])
def test_packages_that_are_missing_are_named_before_the_missing_model(run, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert run(*command) == (
        1,
        "",
        "capibara: faster-whisper, soxr are not installed: pip install faster-whisper soxr\n",
    )


@fixture
def test_a_file_that_nothing_can_speak_into_is_a_failure_before_anything_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, err = run("talk", "--audio", COST, "--fast", "--speech", "s.wav", *HEARS)
    assert (code, out) == (1, "")
    assert err.startswith("capibara: --speech s.wav: nothing can speak: espeak-ng is not installed")
    assert err.count("\n") == 1
    assert not (tmp_path / "s.wav").exists()


@fixture
@pytest.mark.parametrize("command", [["transcribe"], ["transcribe", "--srt"], ["talk", "--fast", "--mute", "--audio"]])
def test_where_nobody_speaks_a_line_says_so(run, tmp_path, command):
    code, out, err = run(*command, silence(tmp_path / "quiet.wav", 2.0), *HEARS, *TEXT_ONLY)
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "capibara: quiet.wav: no speech found"


@fixture
@pytest.mark.parametrize("command", [["transcribe"], ["talk", "--fast", "--mute", "--audio"]])
def test_a_header_alone_is_no_audio(run, tmp_path, command):
    code, out, err = run(*command, silence(tmp_path / "header.wav", 0.0), *HEARS, *TEXT_ONLY)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "capibara: header.wav holds no audio"


@fixture
def test_of_several_files_those_without_speech_are_named_as_they_were_given(run, tmp_path):
    (tmp_path / "a").mkdir()
    quiet = silence(tmp_path / "a" / "quiet.wav", 2.0)
    (tmp_path / "a" / "text.wav").write_text("This is a text file.")
    code, out, err = run("transcribe", f"a/{quiet}", "a/text.wav", COST, *HEARS)
    assert code == 1
    assert out == f"{COST}:\nHow much does a night in Casa Garza cost?\n"
    first, second = err.splitlines()
    assert first == "capibara: a/quiet.wav: no speech found"
    assert second.startswith("capibara: a/text.wav: not an audio file")


@fixture
@pytest.mark.parametrize("content", [b"hello world\n", np.random.default_rng(1).bytes(40_000)], ids=["text", "noise"])
def test_what_is_no_audio_file_on_standard_input_is_said_to_be_taken_as_samples(run, monkeypatch, content):
    type_in(monkeypatch, content)
    code, out, err = run("transcribe", "-", *HEARS)
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "capibara: standard input is no audio file, and is taken as raw 16-bit samples at 16000 Hz, 1 channel",
        "capibara: standard input: no speech found",
    ]


@fixture
@pytest.mark.parametrize("given", [["--rate", "16000"], ["--channels", "1"]])
def test_where_the_layout_of_the_samples_is_given_nothing_is_said_of_it(run, monkeypatch, given):
    type_in(monkeypatch, audio("How much does a night in Casa Garza", 1.0).tobytes())
    assert run("transcribe", "-", *given, *HEARS) == (0, "How much does a night in Casa Garza cost?\n", "")


@fixture
def test_fractions_of_a_document_have_three_decimals(run):
    code, out, _ = run("transcribe", COST, "--json", *HEARS)
    assert code == 0
    assert json.loads(out)["metrics"]["model_calls"] > 0
    assert re.search(r"\d\.\d{4}", out) is None


@fixture
def test_talk_says_that_it_loads_and_what_it_hears(run):
    command = ["talk", "--audio", COST, "--fast", "--mute", *HEARS, *TEXT_ONLY]
    code, _, err = run(*command)
    assert code == 0
    assert err.splitlines()[:2] == ["Loading the models …", f"Listening to {COST} …"]
    assert run(*command, "--json")[2] == ""


@fixture
@speaks
def test_a_loudspeaker_that_is_unknown_is_told_with_those_that_there_are(run, monkeypatch):
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    portaudio = ModuleType("sounddevice")
    portaudio.__spec__ = ModuleSpec("sounddevice", None)
    portaudio.PortAudioError = type("PortAudioError", (Exception,), {})

    def query_devices(device=None, kind=None):
        if kind is not None:
            raise ValueError(f"No {kind} device matching {device!r}")
        return [{"name": "Headset", "max_input_channels": 1, "max_output_channels": 2}]

    portaudio.query_devices = query_devices
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    code, out, err = run("talk", "--audio", COST, "--device", "foo", *HEARS, *TEXT_ONLY)
    assert code == 0
    assert "1,850 pesos" in out
    assert (
        "answers are shown, not spoken: there is no loudspeaker (No output device matching 'foo'; "
        "the devices are: Headset)"
    ) in err
    code, _, err = run("talk", "--device", "7", *HEARS, *TEXT_ONLY)
    assert code == 1
    assert "there is no microphone to record from (No input device matching 7; the devices are: Headset)" in err
