"""What holds for all test files: their order, and one cache for what JAX compiles."""

from __future__ import annotations

import os
import platform

import pytest

_SLOW = (
    "tests/model/training/test_checkpoints.py",
    "tests/assistant/training/test_train_commands.py",
    "tests/assistant/training/test_distil.py",
    "tests/assistant/test_bundled_adapters.py",
    "tests/rag/test_crash.py",
    "tests/voice/test_fixture.py",
    "tests/test_probes.py",
)
"""Runs of whole trainings, of whole models over data, and of many killed programs: `make test` leaves them out."""

_LONG = (
    *_SLOW,
    "tests/model/training/test_decoder_objective.py",
    "tests/model/training/test_loop.py",
    "tests/model/training/test_distillation_objective.py",
    "tests/assistant/test_assistant.py",
    "tests/model/test_parity.py",
    "tests/model/test_families.py",
    "tests/model/engine/test_engine.py",
    "tests/assistant/effects/test_model.py",
    "tests/assistant/test_cli_questions.py",
    "tests/model/test_adapters.py",
    "tests/assistant/test_cli_voice_interrupt.py",
    "tests/test_offline.py",
    "tests/assistant/test_reload_under_load.py",
    "tests/assistant/test_cli_ctrl_c.py",
    "tests/assistant/test_cli_models.py",
    "tests/config/test_live_watch.py",
)
"""They come first, so that no worker is left alone with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Workers, and programs that tests start, find what another has compiled; it is kept until the next run.

    Tests compile far longer than they run: XLA's optimiser is switched off, which halves that. Benchmarks leave it on.
    """
    import jax  # a plugin of pytest has imported it before, too early to see these variables

    if (cache := getattr(config, "cache", None)) is None:  # with -p no:cacheprovider
        return
    folder = cache.mkdir(f"xla-{platform.node()}")
    kept = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in kept.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: within a file, and among the others, the order stays."""
    for item in items:
        if item.nodeid.split("::")[0] in _SLOW:
            item.add_marker(pytest.mark.slow)
    rank = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(_LONG)))
