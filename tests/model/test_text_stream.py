"""Streaming gives whole characters only, and nothing of a stop string, however the text is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.model.text_stream import StopStrings, TextStream

MIXED = st.text(st.sampled_from("aé日🙂 ñ\u200d👩\n"), max_size=12)
PIECES = st.lists(st.text("ab", max_size=4), max_size=8)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


def test_texts_come_out_as_they_went_in_whole_characters_at_a_time(tiny):
    tokenizer = tiny.tokenizer()

    @given(MIXED)
    @settings(max_examples=200, deadline=None)
    def holds(text: str):
        stream = TextStream(tokenizer.decode)
        pieces = [stream.add(token) for token in tokenizer.encode(text)]
        assert "".join(pieces) == text
        assert all("\ufffd" not in piece for piece in pieces)

    holds()


def test_any_bytes_come_out_as_decoding_all_of_them_at_once(tiny):
    tokenizer = tiny.tokenizer()

    @given(st.lists(st.integers(0, 259), max_size=24))
    @settings(max_examples=300, deadline=None)
    def holds(tokens: list[int]):
        stream = TextStream(tokenizer.decode)
        given = "".join(stream.add(token) for token in tokens)
        whole = tokenizer.decode(tokens)
        assert whole.startswith(given)
        assert set(whole[len(given) :]) <= {"\ufffd"}
        assert len(whole) - len(given) <= 3

    holds()


@given(PIECES, STOPS)
@settings(max_examples=500, deadline=None)
def test_the_text_ends_before_the_first_complete_stop_string(pieces: list[str], stop: list[str]):
    stops, given, seen = StopStrings(stop), "", ""
    for piece in pieces:
        given += stops.add(piece)
        seen += piece
        if stops.found:
            break
    whole = given + stops.rest()
    places = [seen.index(text) for text in stop if text in seen]
    assert stops.found == bool(places)
    assert whole == (seen[: min(places)] if places else seen)


@given(PIECES, STOPS)
@settings(max_examples=500, deadline=None)
def test_text_is_held_back_only_where_it_may_begin_a_stop_string(pieces: list[str], stop: list[str]):
    stops, given, seen = StopStrings(stop), "", ""
    for piece in pieces:
        given += stops.add(piece)
        seen += piece
        if stops.found:
            return
        held = seen[len(given) :]
        assert seen.startswith(given)
        assert held == "" or any(text.startswith(held) for text in stop)
