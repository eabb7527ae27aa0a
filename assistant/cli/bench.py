"""``capibara bench llm``."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from .invocation import Invocation, command
from .output import write_line, write_table
from .progress import CountProgress

app = typer.Typer(no_args_is_help=True, help="Measure how fast this machine runs the models.")


@app.command("llm")
@command
def llm(
    invocation: Invocation,
    prompt_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Tokens of a prompt.")] = 256,
    answer_tokens: Annotated[int, typer.Option(min=2, metavar="N", help="Tokens of an answer.")] = 32,
    requests: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Requests at once.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds to take the median of.")] = 3,
    trace: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Record a trace of JAX and Python there.")
    ] = None,
) -> None:
    """Measure the language model of the settings: prompts, answers, and requests at once."""
    from ...model.language_model import JaxLanguageModel
    from ...model.measuring import measure, traced
    from ...model.open import open_model

    loaded, _ = invocation.settings()
    model = open_model(loaded.settings.model)
    if not isinstance(model, JaxLanguageModel):
        raise TypeError(f"{model.name} is not run here")
    with CountProgress("parts") as bar, traced(trace) if trace else nullcontext():
        speed = measure(model, prompt_tokens, answer_tokens, requests, rounds, bar.update)
    if invocation.as_json:
        measured = {name: _rounded(value) for name, value in dataclasses.asdict(speed).items()}
        invocation.emit(measured | ({"trace": str(trace)} if trace else {}))
        return
    write_table(
        ("measure", "value"),
        [
            ("model", speed.model),
            (f"prompt of {prompt_tokens} tokens", f"{speed.prefill_tokens_per_second:.0f} tokens/s"),
            ("first token", f"{speed.first_token_seconds:.3f} s"),
            ("first token, same prompt again", f"{speed.first_token_again_seconds:.3f} s"),
            ("tokens of it kept from before", str(speed.kept_tokens)),
            ("one answer", f"{speed.decode_tokens_per_second:.1f} tokens/s"),
            (f"{requests} answers at once", f"{speed.together_tokens_per_second:.1f} tokens/s"),
            ("answers in a step, mean", f"{speed.occupancy:.1f}"),
            ("shapes compiled for", str(speed.compiled_steps)),
        ],
    )
    if trace:
        write_line(f"\nA trace is in {trace}: open the .trace.json.gz at ui.perfetto.dev or chrome://tracing.")


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
