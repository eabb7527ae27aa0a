"""What every `LanguageModel` must do; each implementation inherits the suite."""

from __future__ import annotations

import itertools
import threading

import pytest

from capibara.model import Delta, EmptyPrompt, LanguageModel, PromptTooLong, Sampling, UnknownAdapter

TEXTS = ["", "a", "Hello, world.", "  two  spaces ", "Ñandú, 日本語, 🙂 and é", "line\nbreak\ttab 1234"]


class LanguageModelConformance:
    """Subclasses give the fixture ``model``."""

    prompt = "The river rises in the mountains and"

    @pytest.mark.parametrize("text", TEXTS)
    def test_decoding_gives_back_what_was_encoded(self, model: LanguageModel, text: str):
        assert model.decode(model.encode(text)) == text

    def test_name_and_context_are_known_before_loading(self, model: LanguageModel):
        assert model.name
        assert model.context_tokens >= 128

    def test_rendering_keeps_every_message_in_order(self, model: LanguageModel):
        rendered = model.render(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "First?"},
                {"role": "assistant", "content": "Second."},
                {"role": "user", "content": "Third?"},
            ]
        )
        places = [rendered.index(part) for part in ("Be brief.", "First?", "Second.", "Third?")]
        assert places == sorted(places)

    def test_pieces_joined_are_the_generation(self, model: LanguageModel):
        pieces = list(model.stream(self.prompt, Sampling(max_tokens=12)))
        whole = model.generate(self.prompt, Sampling(max_tokens=12))
        assert "".join(piece.text for piece in pieces) == whole.text
        assert pieces[-1] == Delta(pieces[-1].text, whole.finish_reason, whole.usage)

    def test_only_the_last_piece_carries_reason_and_usage(self, model: LanguageModel):
        *earlier, last = model.stream(self.prompt, Sampling(max_tokens=8))
        assert all(piece.finish_reason is None and piece.usage is None for piece in earlier)
        assert last.finish_reason is not None
        assert last.usage is not None

    @pytest.mark.parametrize("most", [1, 2, 7])
    def test_max_tokens_ends_with_length_and_exact_usage(self, model: LanguageModel, most: int):
        made = model.generate(self.prompt, Sampling(max_tokens=most))
        assert made.finish_reason == "length"
        assert made.usage.completion_tokens == most
        assert made.usage.prompt_tokens == len(model.encode(self.prompt))

    def test_greedy_decoding_repeats_itself(self, model: LanguageModel):
        sampling = Sampling(max_tokens=10)
        assert model.generate(self.prompt, sampling).text == model.generate(self.prompt, sampling).text

    def test_same_seed_same_text_and_other_seeds_differ(self, model: LanguageModel):
        texts = [
            model.generate(self.prompt, Sampling(max_tokens=12, temperature=1.5, seed=seed)).text
            for seed in (1, 1, 2, 2**40, None)
        ]
        assert texts[0] == texts[1]
        assert len(set(texts)) == 4

    def test_top_k_of_one_is_greedy(self, model: LanguageModel):
        sampled = model.generate(self.prompt, Sampling(max_tokens=8, temperature=2.0, top_k=1, seed=3))
        assert sampled.text == model.generate(self.prompt, Sampling(max_tokens=8)).text

    def test_a_stop_string_ends_the_text_before_it(self, model: LanguageModel):
        whole = model.generate(self.prompt, Sampling(max_tokens=12)).text
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        made = model.generate(self.prompt, Sampling(max_tokens=12, stop=(stop,)))
        assert made.finish_reason == "stop"
        assert made.text == whole[: whole.index(stop)]

    def test_cancelling_before_the_start_gives_no_text(self, model: LanguageModel):
        cancel = threading.Event()
        cancel.set()
        made = model.generate(self.prompt, Sampling(max_tokens=4), cancel)
        assert (made.text, made.finish_reason, made.usage.completion_tokens) == ("", "cancelled", 0)

    def test_cancelling_midway_keeps_what_was_made(self, model: LanguageModel):
        cancel, texts, last = threading.Event(), [], None
        for last in model.stream(self.prompt, Sampling(max_tokens=64), cancel):
            texts.append(last.text)
            cancel.set()
        assert last is not None
        assert last.finish_reason == "cancelled"
        whole = model.generate(self.prompt, Sampling(max_tokens=64)).text
        assert 0 < len("".join(texts)) < len(whole)
        assert whole.startswith("".join(texts))

    def test_two_streams_may_be_read_in_turns(self, model: LanguageModel):
        prompts = self.prompt, "Bread is made of"
        texts = ["", ""]
        for pieces in itertools.zip_longest(*(model.stream(prompt, Sampling(max_tokens=6)) for prompt in prompts)):
            texts = [text + (piece.text if piece else "") for text, piece in zip(texts, pieces, strict=True)]
        assert texts == [model.generate(prompt, Sampling(max_tokens=6)).text for prompt in prompts]

    def test_a_closed_stream_leaves_the_model_usable(self, model: LanguageModel):
        stream = model.stream(self.prompt, Sampling(max_tokens=64))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert model.generate(self.prompt, Sampling(max_tokens=2)).usage.completion_tokens == 2

    def test_an_empty_prompt_is_refused(self, model: LanguageModel):
        with pytest.raises(EmptyPrompt):
            model.generate("", Sampling())

    def test_a_prompt_without_room_is_refused_with_both_counts(self, model: LanguageModel):
        long = "one two three four " * model.context_tokens
        with pytest.raises(PromptTooLong) as caught:
            model.stream(long, Sampling())
        assert str(model.context_tokens) in str(caught.value)
        assert str(len(model.encode(long))) in str(caught.value)

    def test_an_adapter_that_is_not_there_is_refused_by_name(self, model: LanguageModel):
        assert "nobody" not in model.adapters
        with pytest.raises(UnknownAdapter, match="'nobody'"):
            model.stream(self.prompt, Sampling(), adapter="nobody")
        with pytest.raises(UnknownAdapter, match="'nobody'"):
            model.warm_up(adapters=["nobody"])

    def test_messages_are_answered_like_their_rendering(self, model: LanguageModel):
        messages = [{"role": "user", "content": "Name a colour."}]
        made = model.generate(messages, Sampling(max_tokens=5))
        assert made.usage.prompt_tokens == len(model.encode(model.render(messages)))


class TestTinyModel(LanguageModelConformance):
    @pytest.fixture
    def model(self, tiny_model):
        return tiny_model


class TestTinyModelInEightBits(LanguageModelConformance):
    @pytest.fixture(scope="class")
    def model(self, tiny):
        return tiny.model(compute="int8")


class TestBundledModel(LanguageModelConformance):
    @pytest.fixture
    def model(self, bundled_model):
        return bundled_model
