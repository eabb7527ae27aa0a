"""Which adapters are accepted for a model, and what is said of those that are not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from capibara.assistant.reading import parse_reading, reader_messages
from capibara.config.schema import ModelSettings
from capibara.model import AdapterError, AdapterMismatch, AdapterSource, Sampling, open_model
from capibara.model.adapter_files import Adapter, LoraFactors, write_adapter
from capibara.model.adapter_source import read_fitting, record_base, recorded_base, same_base
from capibara.model.bundled_adapters import bundled_adapters
from capibara.model.checksums import CHECKSUM_FILE
from capibara.model.open import adapter_sources, open_checkpoint

QUERIES = "model.layers.0.self_attn.q_proj"


def one_factor(outputs: int = 32, inputs: int = 32, *, name: str = QUERIES, base: str = "tiny", **more) -> Adapter:
    factors = LoraFactors(np.ones((2, inputs), np.float32), np.ones((outputs, 2), np.float32))
    return Adapter(rank=2, alpha=4.0, base_name=base, factors={name: factors}, **more)


@pytest.fixture
def checkpoint(tiny):
    config = tiny.config()
    return tiny.checkpoint(config, tiny.tensors(config))


def checksums(folder):
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / CHECKSUM_FILE).write_text("".join(sums))


def test_an_adapter_of_other_shapes_is_refused_with_module_shapes_and_both_names(tmp_path, checkpoint):
    write_adapter(tmp_path, one_factor(48, 64, base="someone/large"))
    with pytest.raises(AdapterMismatch) as caught:
        read_fitting(tmp_path, checkpoint)
    for named in ("someone/large", "tiny", QUERIES, "48×64", "32×32"):
        assert named in str(caught.value)


@pytest.mark.parametrize(
    "name", ["model.layers.7.self_attn.q_proj", "model.layers.0.mlp.c_fc", "lm_head", "model.embed_tokens"]
)
def test_a_module_that_the_model_does_not_have_or_cannot_adapt_is_named(tmp_path, checkpoint, name):
    write_adapter(tmp_path, one_factor(name=name))
    with pytest.raises(AdapterMismatch, match=f"there is no {name}"):
        read_fitting(tmp_path, checkpoint)


def test_tensors_that_replace_others_as_a_whole_are_refused_by_name(tmp_path, checkpoint):
    write_adapter(tmp_path, one_factor(whole={"score.weight": np.ones((1, 32), np.float32)}))
    with pytest.raises(AdapterError, match=r"score\.weight as a whole"):
        read_fitting(tmp_path, checkpoint)


def test_an_adapter_that_records_another_architecture_is_refused_though_its_shapes_fit(tmp_path, tiny, checkpoint):
    write_adapter(tmp_path, one_factor(base="someone/wider"))
    record_base(tmp_path, "someone/wider", tiny.config(kv_heads=4))
    with pytest.raises(AdapterMismatch, match="made for someone/wider and does not fit tiny"):
        read_fitting(tmp_path, checkpoint)
    record_base(tmp_path, "someone/wider", checkpoint.config)
    assert read_fitting(tmp_path, checkpoint).rank == 2


def test_what_is_recorded_of_the_base_leaves_pefts_own_keys(tmp_path, checkpoint):
    write_adapter(tmp_path, one_factor())
    before = json.loads((tmp_path / "adapter_config.json").read_text())
    record_base(tmp_path, "owner/tiny", checkpoint.config)
    after = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {key: after[key] for key in before} == before
    assert recorded_base(tmp_path).name == "owner/tiny"
    assert recorded_base(tmp_path).architecture
    assert {file.name for file in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize(("base", "warned"), [("someone/else", True), ("owner/Tiny", False), ("tiny-Q8_0", False)])
def test_an_adapter_of_another_name_that_fits_is_used_with_a_warning(tmp_path, checkpoint, caplog, base, warned):
    write_adapter(tmp_path, one_factor(base=base))
    assert QUERIES in read_fitting(tmp_path, checkpoint).factors
    assert (f"made for {base}" in caplog.text) == warned


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct-q8_0", True),
        ("meta-llama/Llama-3.2-1B", "Llama-3.2-1B-Q4_K_M-GGUF", True),
        ("owner/model", "model.IQ4_XS.gguf", True),
        ("owner/model", "/home/me/model/", True),
        ("owner/model", "model-bf16", True),
        ("HuggingFaceTB/SmolLM2-135M", "SmolLM2-135M-Instruct.Q4_1", False),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2-135M-Instruct", False),
    ],
)
def test_owner_and_quantisation_do_not_make_another_base(one, other, same):
    assert same_base(one, other) == same_base(other, one) == same


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_configuration_is_named(tmp_path, checkpoint, text):
    write_adapter(tmp_path, one_factor())
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterError, match=r"adapter_config\.json: not"):
        read_fitting(tmp_path, checkpoint)


class TestChecksums:
    @pytest.fixture
    def folder(self, tmp_path):
        write_adapter(tmp_path / "a", one_factor())
        checksums(tmp_path / "a")
        return tmp_path / "a"

    def test_a_whole_folder_is_accepted(self, folder, checkpoint):
        assert read_fitting(folder, checkpoint).alpha == 4.0

    def test_one_changed_byte_is_found_and_the_file_named(self, folder, checkpoint):
        file = folder / "adapter_model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is damaged") as caught:
            read_fitting(folder, checkpoint)
        assert "install it again" in str(caught.value)

    def test_a_listed_file_that_is_gone_is_named(self, folder, checkpoint):
        (folder / "adapter_model.safetensors").unlink()
        with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is listed in SHA256SUMS and cannot"):
            read_fitting(folder, checkpoint)

    def test_a_list_without_the_weights_is_refused(self, folder, checkpoint):
        lines = (folder / CHECKSUM_FILE).read_text().splitlines(keepends=True)
        (folder / CHECKSUM_FILE).write_text("".join(line for line in lines if "safetensors" not in line))
        with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is not listed"):
            read_fitting(folder, checkpoint)

    def test_a_line_that_is_no_checksum_is_named_by_its_number(self, folder, checkpoint):
        with (folder / CHECKSUM_FILE).open("a") as listing:
            listing.write("half a line\n")
        with pytest.raises(AdapterError, match="line 3 is no checksum"):
            read_fitting(folder, checkpoint)


class TestBundled:
    def test_without_the_folder_there_are_none(self, tmp_path, checkpoint):
        assert bundled_adapters(checkpoint, tmp_path / "missing") == {}
        (tmp_path / "reader").mkdir()
        assert bundled_adapters(checkpoint, tmp_path) == {}

    def test_those_made_for_the_model_are_found_by_the_names_of_their_folders(self, tmp_path, tiny, checkpoint):
        for name, base, config in [
            ("reader", "owner/tiny", tiny.config()),
            ("other-name", "owner/small", tiny.config()),
            ("other-shape", "owner/tiny", tiny.config(kv_heads=4)),
        ]:
            write_adapter(tmp_path / name, one_factor(base=base))
            record_base(tmp_path / name, base, config)
        found = bundled_adapters(checkpoint, tmp_path)
        assert {name: source.folder for name, source in found.items()} == {"reader": tmp_path / "reader"}

    def test_each_that_ships_is_whole_and_fits_the_default_model(self, bundled_file):
        checkpoint = open_checkpoint(ModelSettings())
        shipped = bundled_adapters(checkpoint)
        if not shipped:
            pytest.skip("no adapter is bundled here")
        for name, source in shipped.items():
            assert (source.folder / CHECKSUM_FILE).is_file(), name
            assert read_fitting(source.folder, checkpoint).factors
        assert set(open_model().adapters) == set(shipped)


@pytest.mark.parametrize("mode", ["merged", "low-rank"])
def test_in_four_bits_no_adapter_is_merged_and_the_bundled_reader_reads(mode):
    """Merged, its changes would be rounded away."""
    settings = ModelSettings(compute="int4-weights", reader_mode=mode)
    sources = adapter_sources(open_checkpoint(settings), settings, {"mine": AdapterSource(Path("mine"))})
    assert {name: source.mode for name, source in sources.items()} == {"reader": "low-rank", "mine": "low-rank"}
    messages = reader_messages("How much is the rent?", ["The rent is 940 euros a month, payable by the third."])
    reading = parse_reading(open_model(settings).generate(messages, Sampling(max_tokens=30), adapter="reader").text)
    assert reading is not None
    assert "940 euros" in reading.phrase
