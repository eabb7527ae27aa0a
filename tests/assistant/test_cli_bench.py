"""``capibara bench llm``: the real command with the bundled model."""

from __future__ import annotations

import json
import subprocess

import pytest

from .command_line import PROGRAM

SPEEDS = (
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "together_tokens_per_second",
    "first_token_seconds",
)
SHORT = ("--prompt-tokens", "40", "--answer-tokens", "4", "--requests", "2", "--rounds", "1")


@pytest.fixture
def bench(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "bench", "llm", *arguments, "--data-dir", str(tmp_path / "data")]
        return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)

    return run


def test_speeds_and_a_trace_are_given_as_json(bench, tmp_path):
    trace = tmp_path / "trace"
    done = bench(*SHORT, "--trace", str(trace), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["prompt_tokens"] == 40
    assert min(found[name] for name in SPEEDS) > 0
    assert found["kept_tokens"] == 32  # the whole blocks of the same prompt, asked once more
    assert list(trace.rglob("*.trace.json.gz"))
    assert (trace / "python.pstats").stat().st_size > 0


def test_a_prompt_longer_than_the_context_is_refused_in_one_line(bench):
    done = bench("--prompt-tokens", "9000", "--rounds", "1")
    assert done.returncode != 0
    assert "context holds" in done.stderr
    assert "Traceback" not in done.stderr
