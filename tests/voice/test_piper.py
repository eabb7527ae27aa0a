"""Piper: its package where it is installed, its program as a stand-in that takes the same arguments."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.errors import VoiceError, VoiceUnavailable
from capibara.voice.espeak import Espeak
from capibara.voice.piper import Piper, find_voices
from capibara.voice.synthesis import open_synthesizer

from .synthesizer_conformance import SynthesizerConformance

FOLDER = Path(__file__).with_name("piper_voice")
VOICE = FOLDER / "en_XX-tiny.onnx"
LACKING = r"voice\.piper_voice is set, but piper-tts is not installed \(pip install piper-tts\)"
PROGRAM = f"#!{sys.executable}\n" + textwrap.dedent("""
    import argparse, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--output-raw", action="store_true", required=True)
    parser.add_argument("--length-scale", type=float, required=True)
    given = parser.parse_args()
    text = sys.stdin.readline().strip()
    if "broken" in given.model:
        sys.exit("Unable to load the voice")
    for letter in text:
        sys.stdout.buffer.write(bytes([0, 60]) * int(800 * given.length_scale))
""")


@pytest.fixture
def voice(tmp_path):
    """The voice in a folder of the test's own."""
    for file in FOLDER.glob("*.onnx*"):
        shutil.copy(file, tmp_path)
    return tmp_path / VOICE.name


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program ``piper``, and no package."""
    file = tmp_path / "bin" / "piper"
    file.parent.mkdir()
    file.write_text(PROGRAM)
    file.chmod(0o755)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "piper" else found(name, *rest)
    )
    return str(file)


@pytest.mark.skipif(importlib.util.find_spec("piper") is None, reason="the package piper-tts is not installed")
class TestPackage(SynthesizerConformance):
    @pytest.fixture
    def synthesizer(self):
        return Piper(VOICE)


class TestProgram(SynthesizerConformance):
    @pytest.fixture
    def synthesizer(self, voice, program):
        return Piper(voice, program=program)

    def test_no_text_is_a_command(self, synthesizer):
        assert len(self.speech(synthesizer, "-h")) > 0


def test_the_rate_changes_the_length(voice, program):
    slow, quick = (sum(map(len, Piper(voice, rate, program).synthesize("a boat", "en"))) for rate in (1.0, 2.0))
    assert quick * 2 == slow


def test_a_program_that_fails_is_one_line_with_its_own_words(voice, program):
    broken = voice.with_name("broken.onnx")
    voice.rename(broken)
    voice.with_name(f"{voice.name}.json").rename(f"{broken}.json")
    with pytest.raises(VoiceError, match="cannot speak: Unable to load the voice"):
        list(Piper(broken, program=program).synthesize("a", "en"))


def described(folder: Path, name: str, language: str, rate: int) -> None:
    description = json.loads((FOLDER / "en_XX-tiny.onnx.json").read_text())
    description["language"], description["audio"] = {"family": language}, {"sample_rate": rate}
    (folder / f"{name}.onnx").write_bytes(b"")
    (folder / f"{name}.onnx.json").write_text(json.dumps(description))


def test_a_folder_speaks_each_language_with_its_voice_at_one_rate(tmp_path, program):
    folder = tmp_path / "voices"
    folder.mkdir()
    described(folder, "a", "en", 16_000)
    described(folder, "b", "es", 22_050)
    piper = Piper(folder, program=program)
    assert piper.sample_rate == 16_000
    english, spanish = (sum(map(len, piper.synthesize("hola", language))) for language in ("en", "es-mx"))
    assert english == 4 * 800
    assert spanish == pytest.approx(4 * 800 * 16_000 / 22_050, abs=2)
    with pytest.raises(VoiceError, match=r"no Piper voice for 'de' in .* \(it has en, es\)"):
        list(piper.synthesize("ja", "de"))


def test_a_single_voice_speaks_every_language(voice, program):
    assert sum(map(len, Piper(voice, program=program).synthesize("ja", "de"))) > 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"voice\.piper_voice: .* does not exist"),
        ({"v.onnx": b""}, r"v\.onnx\.json does not describe"),
        ({"v.onnx": b"", "v.onnx.json": b"[]"}, "does not describe"),
        ({"v.onnx": b"", "v.onnx.json": b"\xff"}, "does not describe"),
        ({"v.onnx": b"", "v.onnx.json": b'{"espeak": {"voice": "en"}}'}, "does not describe"),
    ],
)
def test_a_missing_or_damaged_voice_is_one_line(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VoiceError, match=message) as raised:
        Piper(tmp_path / "v.onnx")
    assert "\n" not in str(raised.value)


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(VoiceError, match=r"no Piper voice in .* it needs NAME\.onnx"):
        find_voices(tmp_path)


@pytest.mark.parametrize("chosen", ["piper", "auto"])
def test_piper_is_chosen_where_a_voice_is_set(chosen, voice, program, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(program).parent))
    synthesizer = open_synthesizer(VoiceSettings(synthesizer=chosen, piper_voice=str(voice)))
    assert synthesizer is not None
    assert synthesizer.name == "piper (en_XX-tiny)"


def test_a_set_voice_without_piper_is_one_line(voice, program, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VoiceUnavailable, match=LACKING):
        open_synthesizer(VoiceSettings(synthesizer="piper", piper_voice=str(voice)))


def test_a_set_voice_without_piper_or_any_other_voice_is_named(voice, monkeypatch):
    monkeypatch.setitem(sys.modules, "piper", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VoiceUnavailable, match=LACKING):
        open_synthesizer(VoiceSettings(piper_voice=str(voice)))


@pytest.mark.skipif(not Espeak.available(), reason="espeak-ng is not installed")
def test_where_espeak_stands_in_for_a_set_voice_a_warning_says_so(voice, monkeypatch, caplog):
    monkeypatch.setattr(Piper, "available", lambda: False)
    synthesizer = open_synthesizer(VoiceSettings(piper_voice=str(voice)))
    assert synthesizer is not None
    assert synthesizer.name == "espeak-ng"
    assert "voice.piper_voice is set, but piper-tts is not installed" in caplog.text
