"""Files that say which heads stream are written and read alike, and refused by name where they do not fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import HeadPatternError, open_model
from capibara.model.architecture import LayerKind, StreamingHeads
from capibara.model.head_pattern import HeadPattern, patterned, read_pattern, write_pattern
from capibara.model.memory import estimate_for

from .test_folder import write_folder

PATTERN = HeadPattern(((1.0, 0.25), (0.1234, 0.0)), 4, 24, 0.25)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "heads.toml"


def test_what_was_written_is_read_again(file):
    write_pattern(PATTERN, file)
    assert read_pattern(file) == PATTERN


@pytest.mark.parametrize(("gate", "threshold"), [(0.49996, 0.5), (1e-05, 2e-05), (1 / 3, 0.33333334)])
def test_a_head_whose_gate_is_next_to_the_threshold_streams_after_writing_as_before(file, gate, threshold):
    pattern = HeadPattern(((np.float64(gate), 1),), 4, 24, threshold)
    write_pattern(pattern, file)
    assert read_pattern(file).streaming(0) == pattern.streaming(0) == (0,)
    assert read_pattern(file) == pattern


def test_heads_below_the_threshold_stream_and_layers_without_such_stay_plain(tiny):
    config = patterned(tiny.config(), PATTERN)
    assert config.layer_kinds == (LayerKind(), LayerKind(streaming=StreamingHeads((0, 1), 4, 24)))


def test_a_threshold_that_is_not_given_is_a_half(file):
    file.write_text("sinks = 1\nwindow = 2\ngates = [[0.5, 0.49]]\n")
    assert read_pattern(file).streaming(0) == (1,)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("gates = [", "cannot be read"),
        ("sinks = 1\nwindow = 2\n", "gates is missing"),
        ("sinks = 1\ngates = [[1.0]]\n", "window is missing"),
        ("sinks = 1\nwindow = 2\nheads = 3\ngates = [[1.0]]\n", "heads is none of its keys"),
        ("sinks = 1\nwindow = 2\ngates = 1.0\n", "a list of lists"),
        ("sinks = 1\nwindow = 2\ngates = [1.0]\n", "a list of lists"),
        ('sinks = 1\nwindow = 2\ngates = [[1.0], ["a"]]\n', "layer 1 has the gate 'a'"),
        ("sinks = 1\nwindow = 2\ngates = [[1.5]]\n", "layer 0 has the gate 1.5"),
        ("sinks = 1\nwindow = 2\ngates = [[nan]]\n", "layer 0 has the gate nan"),
        ("sinks = 1\nwindow = 2\nthreshold = 2\ngates = [[1]]\n", "threshold is 2"),
        ("sinks = 1.5\nwindow = 2\ngates = [[1]]\n", "sinks is 1.5"),
        ("sinks = true\nwindow = 2\ngates = [[1]]\n", "sinks is True"),
        ("sinks = 0\nwindow = 0\ngates = [[1]]\n", "window is 0"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(file, text, named):
    file.write_text(text)
    with pytest.raises(HeadPatternError, match=named) as caught:
        read_pattern(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(file):
    with pytest.raises(HeadPatternError, match=f"no head pattern at {file}"):
        read_pattern(file)


@pytest.mark.parametrize(
    ("gates", "named"),
    [
        (((1.0, 1.0),), "gates for 1 layers; there are 2"),
        (((1.0, 1.0),) * 3, "gates for 3 layers; there are 2"),
        (((1.0, 1.0), (1.0,)), "layer 1 of the head pattern has 1 gates; the model has 2 key heads"),
    ],
)
def test_a_pattern_for_another_network_is_refused(tiny, gates, named):
    with pytest.raises(HeadPatternError, match=named):
        patterned(tiny.config(), HeadPattern(gates, 4, 24))


def test_heads_of_a_layer_with_a_window_cannot_stream(tiny):
    config = dataclasses.replace(tiny.config(), layer_kinds=(LayerKind(), LayerKind(window=9)))
    with pytest.raises(HeadPatternError, match="layer 1 sees 9 tokens in any case"):
        patterned(config, HeadPattern(((0.0, 0.0), (1.0, 0.0)), 4, 24))
    assert patterned(config, HeadPattern(((0.0, 0.0), (1.0, 1.0)), 4, 24)).layer_kinds[1] == LayerKind(window=9)


def test_a_model_is_opened_with_the_pattern_that_the_settings_name(tiny, tmp_path, file):
    write_folder(tmp_path / "m", tiny)
    write_pattern(PATTERN, file)
    settings = ModelSettings(path=str(tmp_path / "m"), compute="float32", prefix_cache_mib=0)
    streaming = settings.model_copy(update={"head_pattern": str(file)})
    assert open_model(streaming, cache=tmp_path).runner.config == patterned(tiny.config(), PATTERN)
    assert open_model(settings, cache=tmp_path).runner.config == tiny.config()
    whole, part = (estimate_for(each).cache for each in (settings, streaming))
    assert part == whole * (2 * 2048 + 2 * 28) / (4 * 2048)


def test_a_pattern_that_is_missing_is_refused_before_anything_is_loaded(tiny, tmp_path):
    write_folder(tmp_path / "m", tiny)
    with pytest.raises(HeadPatternError, match="nowhere"):
        open_model(ModelSettings(path=str(tmp_path / "m"), head_pattern=str(tmp_path / "nowhere")))
