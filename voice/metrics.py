"""What listening cost and how soon it told: counted while a stream runs, read as one snapshot."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from .hypothesis import same_word
from .values import DropReason, Word, seconds

_REMEMBERED = 2_000


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of seconds. The percentiles are of the latest 2,000 values."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0


@dataclass(frozen=True, slots=True)
class VoiceMetrics:
    """A snapshot of one stream.

    Latencies come in two kinds: *unaware* of computation (the audio that had come in when something was told, less
    where it ends in the audio: the same on every machine) and *aware* (the same with the time that the model took).
    """

    seconds_received: float
    seconds_spoken: float
    """Audio that the gate let through."""
    model_calls: int
    final_calls: int
    """Calls with the effort of a final; the others are for partials alone."""
    seconds_decoded: float
    """Audio given to the model, counted again each time."""
    model_seconds: float
    utterances: int
    turns: int
    first_partial_unaware: Distribution
    first_partial_aware: Distribution
    """From the start of speech to the first words shown."""
    word_latency_unaware: Distribution
    word_latency_aware: Distribution
    """From the end of a word to where it was told for good."""
    endpoint_unaware: Distribution
    endpoint_aware: Distribution
    """From the end of speech to the end of the turn."""
    words_shown: int
    words_withdrawn: int
    partials_dropped: int
    audio_seconds_dropped: float
    failures: int
    invalid_samples: int
    clipped_samples: int

    @property
    def seconds_skipped(self) -> float:
        return max(0.0, self.seconds_received - self.seconds_spoken)

    @property
    def share_skipped(self) -> float:
        return self.seconds_skipped / self.seconds_received if self.seconds_received else 0.0

    @property
    def decoded_per_second(self) -> float:
        """Seconds decoded per second of audio received."""
        return self.seconds_decoded / self.seconds_received if self.seconds_received else 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of the model's time per second of audio received."""
        return self.model_seconds / self.seconds_received if self.seconds_received else 0.0

    @property
    def churn(self) -> float:
        """Share of the words shown that were withdrawn; committed words never are."""
        return self.words_withdrawn / self.words_shown if self.words_shown else 0.0


class _Values:
    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, value: float) -> None:
        self._count += 1
        self._sum += value
        self._latest.append(value)

    def distribution(self) -> Distribution:
        if not self._count:
            return Distribution()
        ordered = sorted(self._latest)
        at = [ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.95)]
        return Distribution(self._count, self._sum / self._count, *at)


class MetricsCollector:
    """Counts while a stream runs; samples are of stream time, ``at`` is its time in seconds when something was told."""

    def __init__(self) -> None:
        self._samples: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._model_seconds = 0.0
        self._values = {
            name: _Values() for name in ("partial", "partial_aware", "word", "word_aware", "endpoint", "endpoint_aware")
        }

    def received(self, samples: int) -> None:
        self._samples["received"] += samples

    def repaired(self, invalid: int, clipped: int) -> None:
        """So many samples were no numbers, or beyond full scale, since the start."""
        self._counts["invalid"], self._counts["clipped"] = invalid, clipped

    def opened(self) -> None:
        self._counts["utterances"] += 1

    def spoken(self, samples: int) -> None:
        self._samples["spoken"] += samples

    def decoded(self, samples: int, took: float, final: bool) -> None:
        self._counts["calls"] += 1
        self._counts["finals"] += final
        self._samples["decoded"] += samples
        self._model_seconds += took

    def failed(self) -> None:
        self._counts["failures"] += 1

    def dropped_partial(self, reason: DropReason) -> None:
        if reason != "failed":
            self._counts["partials_dropped"] += 1

    def dropped_audio(self, samples: int) -> None:
        self._samples["dropped"] += samples

    def shown(self, before: Sequence[Word], now: Sequence[Word]) -> None:
        """``now`` stands where ``before`` stood."""
        kept = 0
        while kept < min(len(before), len(now)) and same_word(before[kept], now[kept]):
            kept += 1
        self._counts["withdrawn"] += len(before) - kept
        self._counts["shown"] += len(now) - kept

    def first_words(self, start: int, sample: int, at: float) -> None:
        self._latency("partial", start, sample, at)

    def told(self, words: Sequence[Word], sample: int, at: float) -> None:
        for word in words:
            self._latency("word", word.end, sample, at)

    def turn_ended(self, speech_end: int, sample: int, at: float) -> None:
        self._counts["turns"] += 1
        self._latency("endpoint", speech_end, sample, at)

    def _latency(self, name: str, since: int, sample: int, at: float) -> None:
        self._values[name].add(seconds(sample - since))
        self._values[name + "_aware"].add(max(at, seconds(sample)) - seconds(since))

    def snapshot(self) -> VoiceMetrics:
        counts, values = self._counts, {name: kept.distribution() for name, kept in self._values.items()}
        return VoiceMetrics(
            seconds_received=seconds(self._samples["received"]),
            seconds_spoken=seconds(self._samples["spoken"]),
            model_calls=counts["calls"],
            final_calls=counts["finals"],
            seconds_decoded=seconds(self._samples["decoded"]),
            model_seconds=self._model_seconds,
            utterances=counts["utterances"],
            turns=counts["turns"],
            first_partial_unaware=values["partial"],
            first_partial_aware=values["partial_aware"],
            word_latency_unaware=values["word"],
            word_latency_aware=values["word_aware"],
            endpoint_unaware=values["endpoint"],
            endpoint_aware=values["endpoint_aware"],
            words_shown=counts["shown"],
            words_withdrawn=counts["withdrawn"],
            partials_dropped=counts["partials_dropped"],
            audio_seconds_dropped=seconds(self._samples["dropped"]),
            failures=counts["failures"],
            invalid_samples=counts["invalid"],
            clipped_samples=counts["clipped"],
        )
