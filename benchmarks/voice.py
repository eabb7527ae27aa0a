"""What listening costs and how soon it tells, with the gate and without it.

`python benchmarks/voice.py`: three tables. *Gate*: over recorded speech with exact silences and 20 dB noise, what each
detector lets through, what it loses, and what it costs. *Transcription*: the same stream without a gate, behind
webrtcvad alone, and behind webrtcvad confirmed by Silero: model calls, seconds decoded, latencies, word errors.
*Sessions*: many live streams at once on one model. ``--soak 60`` feeds an hour of conversation as fast as it goes and
prints the memory as it does. ``--model`` takes a Whisper folder (default: the tests' own, on its own recordings).
``--json`` prints one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from pathlib import Path

import numpy as np
from speech_streams import RATE, Clip, Stream, conversation, lost_energy, read_audio, read_clips, word_errors

from capibara.config.schema import VoiceSettings
from capibara.voice import (
    AudioFormat,
    Final,
    SharedTranscription,
    StreamingTranscriber,
    TranscriptionStream,
    VoiceMetrics,
    WhisperTranscriber,
)
from capibara.voice.detection import FrameClassifier
from capibara.voice.gate import Closed, Gate, GateRules, Opened
from capibara.voice.metrics import MetricsCollector
from capibara.voice.stream_input import StreamInput

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech"
FIXTURE = ROOT / "tests" / "voice" / "fixture"
DETECTORS = ("none", "webrtc", "silero")
PIECE = RATE // 10


def main() -> None:
    options = _options()
    report: dict[str, object] = {}
    if "gate" in options.parts:
        report["gate"] = _gate_table(options)
    if {"transcription", "sessions", "soak"} & set(options.parts):
        transcriber = WhisperTranscriber(options.model, threads=options.threads)
        transcriber.warm_up()
        clips = _clips(options)
        if "transcription" in options.parts:
            stream = conversation(clips, noise_db=options.noise_db)
            report["transcription"] = [_transcription(transcriber, stream, vad, options.language) for vad in DETECTORS]
        if "sessions" in options.parts:
            report["sessions"] = asyncio.run(_sessions(transcriber, clips, options))
        if "soak" in options.parts:
            report["soak"] = _soak(transcriber, clips, options)
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for title, rows in report.items():
        _print_table(title, rows if isinstance(rows, list) else [rows])


def _gate_table(options: argparse.Namespace) -> list[dict[str, object]]:
    names = [row["path"] for row in _manifest(options.speech) if _usable(row)]
    stream = conversation(read_clips(options.speech, names), noise_db=options.noise_db)
    noise = read_audio(options.speech / "negative" / "empty.wav")
    return [_gate_row(stream, noise, vad) for vad in DETECTORS]


def _gate_row(stream: Stream, noise: np.ndarray, vad: str) -> dict[str, object]:
    begun = time.perf_counter()
    spans, opinions = _kept(stream.audio, VoiceSettings(vad=vad))  # pyright: ignore[reportArgumentType]
    took = time.perf_counter() - begun
    lost = lost_energy(stream, spans)
    on_noise, _ = _kept(noise, VoiceSettings(vad=vad))  # pyright: ignore[reportArgumentType]
    return {
        "detector": vad,
        "audio s": round(stream.seconds),
        "clips": len(lost),
        "lost": sum(whole > 0.5 for whole, _, _ in lost),
        "cut (>5% of an edge's energy)": sum(max(first, last) > 0.05 for _, first, last in lost),
        "most energy lost": f"{max(whole for whole, _, _ in lost):.2%}",
        "let through": f"{sum(end - start for start, end in spans) / len(stream.audio):.1%}",
        "speech": f"{sum(end - start for start, end in stream.spans) / len(stream.audio):.1%}",
        "noise let through s": round(sum(end - start for start, end in on_noise) / RATE, 2),
        "silero asked": f"{opinions / (len(stream.audio) / 512):.0%}",
        "ms per s": round(1000 * took / stream.seconds, 1),
    }


def _kept(audio: np.ndarray, settings: VoiceSettings) -> tuple[list[tuple[int, int]], int]:
    classifier = FrameClassifier.of(settings)
    source, gate = StreamInput(AudioFormat(), classifier, MetricsCollector()), Gate(GateRules.of(settings))
    source.push(audio)
    changes = []
    while (frame := source.next_frame(gate.is_open)) is not None:
        changes += gate.step(frame)
    changes += gate.stop("end", len(audio))
    starts = [change.audio_start for change in changes if isinstance(change, Opened)]
    ends = [change.audio_end for change in changes if isinstance(change, Closed)]
    return list(zip(starts, ends, strict=True)), classifier.second_opinions


def _transcription(transcriber: WhisperTranscriber, stream: Stream, vad: str, language: str) -> dict[str, object]:
    settings = VoiceSettings(vad=vad, language=language)  # pyright: ignore[reportArgumentType]
    streaming = StreamingTranscriber(transcriber, settings)
    events = [e for at in range(0, len(stream.audio), PIECE) for e in streaming.feed(stream.audio[at : at + PIECE])]
    finals = [event for event in events + streaming.finish() if isinstance(event, Final)]
    expected = " ".join(clip.text for clip in stream.clips)
    errors, words = word_errors(expected, " ".join(final.text for final in finals))
    return {"detector": vad, **_figures(streaming.metrics), "WER": f"{errors / max(1, words):.1%}"}


def _figures(metrics: VoiceMetrics) -> dict[str, object]:
    def pair(unaware: float, aware: float) -> str:
        return f"{unaware:.2f}/{aware:.2f}"

    return {
        "audio s": round(metrics.seconds_received),
        "calls": metrics.model_calls,
        "decoded s": round(metrics.seconds_decoded),
        "per s": round(metrics.decoded_per_second, 2),
        "skipped": f"{metrics.share_skipped:.0%}",
        "RTF": round(metrics.real_time_factor, 3),
        "word latency un/aware s": pair(metrics.word_latency_unaware.mean, metrics.word_latency_aware.mean),
        "first partial p95": pair(metrics.first_partial_unaware.p95, metrics.first_partial_aware.p95),
        "endpoint p95": pair(metrics.endpoint_unaware.p95, metrics.endpoint_aware.p95),
        "churn": f"{metrics.churn:.1%}",
        "dropped": metrics.partials_dropped,
    }


async def _sessions(
    transcriber: WhisperTranscriber, clips: list[Clip], options: argparse.Namespace
) -> dict[str, object]:
    """Live streams fed at the pace of ``--speed`` times real time; each says its own choice of clips."""
    service = SharedTranscription(transcriber, VoiceSettings(language=options.language))
    random = np.random.default_rng(1)
    chosen = [[clips[int(i)] for i in random.integers(0, len(clips), 3)] for _ in range(options.sessions)]
    streams = [conversation(some, noise_db=options.noise_db, seed=seed) for seed, some in enumerate(chosen)]
    opened = [service.open() for _ in streams]
    before, begun = _resident_mb(), time.perf_counter()
    texts = await asyncio.gather(*(_talk(o, s, options.speed) for o, s in zip(opened, streams, strict=True)))
    took = time.perf_counter() - begun
    service.close()
    metrics = [one.metrics for one in opened]
    calls = [m.model_calls for m in metrics]
    waits = [m.endpoint_aware.p95 for m in metrics]
    return {
        "sessions": len(streams),
        "audio s": round(sum(m.seconds_received for m in metrics)),
        "took s": round(took, 1),
        "utterances": sum(m.utterances for m in metrics),
        "finals": sum(count for count, _ in texts),
        "without words": sum(empty for _, empty in texts),
        "partials dropped": sum(m.partials_dropped for m in metrics),
        "calls least/most": f"{min(calls)}/{max(calls)}",
        "endpoint p95 least/most s": f"{min(waits):.1f}/{max(waits):.1f}",
        "memory grew MB": round(_resident_mb() - before, 1),
    }


async def _talk(opened: TranscriptionStream, stream: Stream, speed: float) -> tuple[int, int]:
    """Finals, and those without words."""

    async def read() -> list[Final]:
        return [event async for event in opened if isinstance(event, Final)]

    reading = asyncio.create_task(read())
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for at in range(0, len(stream.audio), PIECE):
        await asyncio.sleep(max(0.0, begun + at / RATE / speed - loop.time()))
        await opened.send(stream.audio[at : at + PIECE])
    await opened.finish()
    finals = await reading
    return len(finals), sum(not final.words for final in finals)


def _soak(transcriber: WhisperTranscriber, clips: list[Clip], options: argparse.Namespace) -> dict[str, object]:
    streaming = StreamingTranscriber(transcriber, VoiceSettings(language=options.language))
    memory: list[float] = []
    finals, round_, begun = 0, 0, time.perf_counter()
    while streaming.metrics.seconds_received < options.soak * 60:
        audio = conversation(clips, noise_db=options.noise_db, seed=round_).audio
        round_ += 1
        for at in range(0, len(audio), PIECE):
            finals += sum(isinstance(event, Final) for event in streaming.feed(audio[at : at + PIECE]))
        memory.append(round(_resident_mb(), 1))
    finals += sum(isinstance(event, Final) for event in streaming.finish())
    steps = sorted({round(i * (len(memory) - 1) / 6) for i in range(7)})
    return {
        "took s": round(time.perf_counter() - begun),
        "finals": finals,
        "utterances": streaming.metrics.utterances,
        "resident MB": " ".join(str(memory[i]) for i in steps),
        **_figures(streaming.metrics),
    }


def _clips(options: argparse.Namespace) -> list[Clip]:
    """The recordings to transcribe: the fixture's own for the fixture, else of the speech in ``--language``."""
    if options.model != FIXTURE / "model":
        rows = [row for row in _manifest(options.speech) if _usable(row) and row["language"] == options.language]
        return read_clips(options.speech, [row["path"] for row in rows])
    manifest = json.loads((FIXTURE / "recordings" / "manifest.json").read_text("utf-8"))
    rows = [row for row in manifest["recordings"] if row["language"] == options.language]
    clips = []
    for row in rows:
        audio = read_audio(FIXTURE / "recordings" / row["file"])
        clips.append(Clip(row["file"], row["text"], row["language"], audio, row["start_sample"], row["end_sample"]))
    return clips


def _manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def _usable(row: dict) -> bool:
    whole = row["transcript"] and not row.get("partial") and "archive" not in row
    return bool(whole) and row["seconds"] < 30 and not row["path"].endswith((".ogg", "jfk.flac"))


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines() if Path("/proc").exists() else []:
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _print_table(title: str, rows: list) -> None:
    print(f"\n{title}")
    names = list(rows[0])
    widths = [max(len(name), *(len(str(row[name])) for row in rows)) for name in names]
    print("  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True)))
    for row in rows:
        print("  ".join(str(row[name]).rjust(width) for name, width in zip(names, widths, strict=True)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["gate", "transcription", "sessions"], help="also: soak")
    parser.add_argument("--model", type=Path, default=FIXTURE / "model", help="folder of a Whisper model")
    parser.add_argument("--language", default="en", help="code of the language spoken")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with manifest.jsonl")
    parser.add_argument("--noise-db", type=float, default=20.0, help="white noise below the speech, in dB")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--speed", type=float, default=1.0, help="of live streams, times real time")
    parser.add_argument("--soak", type=float, default=60.0, help="minutes of audio")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
