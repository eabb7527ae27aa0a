"""The GGUF reader, against the `gguf` package as oracle, and against damaged files."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from capibara.model import CheckpointError, UnsupportedCheckpoint
from capibara.model.ggml_types import tensor_type
from capibara.model.gguf import GgufFile
from capibara.model.gguf_checkpoint import GgufCheckpoint

gguf = pytest.importorskip("gguf")

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
# Bytes of a block of 256 values, and where its scales in float16 stand: the package reads these types but writes none.
K_TYPES = {"Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]), "Q6_K": (210, [208])}
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[part]}.weight"
    return f"{GGUF_NAMES[stem]}.weight"


def neighbouring_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """The row order that llama.cpp's converter gives queries and keys."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_model(path, config, tensors, architecture="llama", tokens=()):
    """``tokens`` are single letters, the first two of which make another token; none: no tokenizer."""
    writer = gguf.GGUFWriter(path, architecture)
    if tokens:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([*tokens, tokens[0] + tokens[1]])
        writer.add_token_types([1] * (len(tokens) + 1))
        writer.add_token_merges([f"{tokens[0]} {tokens[1]}"])
        writer.add_eos_token_id(0)
        writer.add_chat_template("{{ messages[0].content }}")
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context_tokens)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.hidden_width)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    for name, values in tensors.items():
        heads = config.heads if "q_proj" in name else config.kv_heads
        stored = neighbouring_pairs(values, heads) if "q_proj" in name or "k_proj" in name else values
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(stored))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tensor(path, name: str, values: np.ndarray, kind: str):
    writer = gguf.GGUFWriter(path, "llama")
    quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return quantised


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_every_type_stands_for_the_numbers_the_gguf_package_reads(tmp_path, kind, rows):
    values = np.random.default_rng(rows).normal(0, 3, (rows, 64)).astype(np.float32)
    path = tmp_path / "one.gguf"
    quantised = write_tensor(path, "some.weight", values, kind)
    file = GgufFile(path)
    entry = file.tensors["some.weight"]
    expected = gguf.quants.dequantize(quantised, gguf.GGMLQuantizationType[kind])
    ours = entry.type.dequantise(file.raw("some.weight"), entry.shape)
    assert entry.type.name == kind
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, expected.reshape(ours.shape))


@pytest.mark.parametrize("kind", K_TYPES)
@pytest.mark.parametrize("rows", [1, 5, 1100])
def test_blocks_of_every_k_type_stand_for_the_numbers_the_gguf_package_reads(kind, rows):
    size, scales = K_TYPES[kind]
    rng = np.random.default_rng(rows)
    blocks = rng.integers(0, 256, (rows, size), dtype=np.uint8)
    for place in scales:
        blocks[:, place : place + 2] = rng.normal(0, 1, (rows, 1)).astype(np.float16).view(np.uint8)
    number = gguf.GGMLQuantizationType[kind]
    ours = tensor_type(number.value, "some.weight").dequantise(blocks.reshape(-1), (rows, 256))
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, gguf.quants.dequantize(blocks, number))


def test_the_bundled_file_reads_as_the_gguf_package_dequantises_it(bundled_file):
    file = GgufFile(bundled_file)
    data = np.memmap(bundled_file, mode="r")
    start = len(data) - sum(-(-file.raw(name).nbytes // 32) * 32 for name in file.tensors)
    for name in ("token_embd.weight", "blk.3.attn_q.weight", "output_norm.weight"):
        entry = file.tensors[name]
        raw = np.array(data[start + entry.offset :][: entry.type.byte_count(entry.shape)])
        expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[entry.type.name]).reshape(entry.shape)
        np.testing.assert_array_equal(entry.type.dequantise(file.raw(name), entry.shape), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_written_as_gguf_comes_back_with_its_configuration_and_weights(tmp_path, tiny, tied):
    config = tiny.config(tied=tied)
    tensors = tiny.tensors(config)
    checkpoint = GgufCheckpoint(write_model(tmp_path / "tiny.gguf", config, tensors))
    frequencies = checkpoint.config.rope_frequencies
    assert frequencies == pytest.approx(config.rope_frequencies)
    assert checkpoint.config.norm_epsilon == pytest.approx(config.norm_epsilon)
    sizes = ("vocabulary", "width", "layers", "heads", "kv_heads", "head_width", "hidden_width", "tied_head")
    assert [getattr(checkpoint.config, size) for size in sizes] == [getattr(config, size) for size in sizes]
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), values)


def test_an_unsupported_tensor_type_is_refused_by_name(tmp_path):
    path = tmp_path / "k.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    kind = gguf.GGMLQuantizationType.Q2_K
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((2, 84), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedCheckpoint, match=r"blk\.0\.ffn_up\.weight has type Q2_K"):
        GgufFile(path)


def test_another_architecture_is_refused_by_name(tmp_path, tiny):
    config = tiny.config()
    path = write_model(tmp_path / "other.gguf", config, tiny.tensors(config), "mamba")
    with pytest.raises(UnsupportedCheckpoint, match="'mamba'"):
        GgufCheckpoint(path)


def test_a_missing_weight_is_named(tmp_path, tiny):
    config = tiny.config()
    tensors = tiny.tensors(config)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    checkpoint = GgufCheckpoint(write_model(tmp_path / "holed.gguf", config, tensors))
    with pytest.raises(CheckpointError, match=r"blk\.1\.ffn_up\.weight is missing"):
        checkpoint.tensor("model.layers.1.mlp.up_proj.weight")


def test_the_header_of_a_file_is_read_once_and_that_of_another_in_its_place_anew(tmp_path, tiny):
    config, other = tiny.config(), tiny.config(context=99)
    path = write_model(tmp_path / "model.gguf", config, tiny.tensors(config))
    first = GgufFile(path)
    assert GgufFile(path).metadata is first.metadata
    write_model(tmp_path / "other.gguf", other, tiny.tensors(other)).replace(path)
    assert GgufCheckpoint(path).config.context_tokens == 99


def test_a_file_cut_short_anywhere_is_refused_in_one_line(tmp_path, tiny):
    config = tiny.config()
    whole = write_model(tmp_path / "whole.gguf", config, tiny.tensors(config)).read_bytes()
    cut = tmp_path / "cut.gguf"
    for end in [0, 1, 4, 8, 20, 100, 500, 1500, 3000, len(whole) // 2, len(whole) - 64]:
        cut.write_bytes(whole[:end])
        with pytest.raises(CheckpointError) as caught:
            GgufCheckpoint(cut)
        assert str(caught.value).startswith(str(cut))
        assert "\n" not in str(caught.value)


def test_flipped_header_bytes_never_escape_as_another_error(tmp_path, tiny):
    config = tiny.config()
    tensors = tiny.tensors(config)
    whole = write_model(tmp_path / "whole.gguf", config, tensors, tokens="abcd").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.integers(0, 2000, 150):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path = tmp_path / f"damaged-{place}.gguf"
        path.write_bytes(damaged)
        try:
            checkpoint = GgufCheckpoint(path)
            for name in tensors:
                checkpoint.tensor(name)
            checkpoint.tokenizer()
        except CheckpointError:
            refused += 1
    assert refused > 20


def bare_file(path, metadata: bytes = b"", tensors: bytes = b""):
    """A file of at most one entry of metadata and one tensor, given as they stand in it, with room for data behind."""
    counts = struct.pack("<QQ", bool(tensors), bool(metadata))
    path.write_bytes(b"GGUF" + struct.pack("<I", 3) + counts + metadata + tensors + bytes(256))
    return path


def named(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def test_arrays_within_arrays_without_end_are_refused_as_damage(tmp_path):
    kind_of_array, one = struct.pack("<I", 9), struct.pack("<Q", 1)
    metadata = named("general.nested") + kind_of_array + (kind_of_array + one) * 3000
    path = bare_file(tmp_path / "nested.gguf", metadata)
    with pytest.raises(CheckpointError, match=r"nested\.gguf: damaged: metadata of more than 8 arrays within"):
        GgufFile(path)


@pytest.mark.parametrize("shape", [(33,), ()])
def test_rows_that_are_no_whole_blocks_are_refused_with_the_file_and_the_tensor(tmp_path, shape):
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    path = bare_file(tmp_path / "rows.gguf", tensors=named("some.weight") + axes + struct.pack("<IQ", 8, 0))
    with pytest.raises(CheckpointError, match=r"rows\.gguf: tensor some\.weight: damaged: rows of (33|1) values"):
        GgufFile(path)


def with_shape(whole: bytes, tensor: str, *axes: int) -> bytes:
    """The file with another shape of the tensor. The data may lie elsewhere behind it: nothing reads what it is."""
    start = whole.index(named(tensor)) + len(named(tensor))
    (count,) = struct.unpack_from("<I", whole, start)
    behind = start + 4 + 8 * count
    return whole[:start] + struct.pack(f"<I{len(axes)}Q", len(axes), *axes) + whole[behind:] + bytes(64)


@pytest.mark.parametrize("axes", [(), (32,), (32, 260, 1)])
def test_an_embedding_table_that_is_no_matrix_is_refused_by_name(tmp_path, tiny, axes):
    config = tiny.config()
    whole = write_model(tmp_path / "whole.gguf", config, tiny.tensors(config)).read_bytes()
    path = tmp_path / "shape.gguf"
    path.write_bytes(with_shape(whole, "token_embd.weight", *axes))
    with pytest.raises(CheckpointError, match=rf"shape\.gguf: damaged: tensor token_embd\.weight has {len(axes)} dim"):
        GgufCheckpoint(path)


@pytest.mark.parametrize("key", ["rope.dimension_count", "attention.key_length"])
def test_heads_of_billions_of_values_are_refused_before_anything_is_made_of_them(tmp_path, tiny, key):
    config = tiny.config()
    whole = write_model(tmp_path / "whole.gguf", config, tiny.tensors(config)).read_bytes()
    (entries,) = struct.unpack_from("<Q", whole, 16)
    entry = named(f"llama.{key}") + struct.pack("<II", 4, 2**32 - 2)
    path = tmp_path / "wide.gguf"
    path.write_bytes(whole[:16] + struct.pack("<Q", entries + 1) + entry + whole[24:] + bytes(64))
    with pytest.raises(CheckpointError, match=r"wide\.gguf: damaged: heads of .* values"):
        GgufCheckpoint(path)


@pytest.mark.parametrize("axes", [(), (32, 33)])
def test_query_rows_that_make_no_heads_are_refused_with_the_file_and_the_tensor(tmp_path, tiny, axes):
    config = tiny.config()
    whole = write_model(tmp_path / "whole.gguf", config, tiny.tensors(config)).read_bytes()
    path = tmp_path / "queries.gguf"
    path.write_bytes(with_shape(whole, "blk.0.attn_q.weight", *axes))
    with pytest.raises(CheckpointError, match=r"queries\.gguf: blk\.0\.attn_q\.weight is .* no heads of 8"):
        GgufCheckpoint(path).tensor("model.layers.0.self_attn.q_proj.weight")


def test_something_else_is_refused_as_not_gguf(tmp_path):
    path = tmp_path / "text.gguf"
    path.write_text("just words, more than a header's worth of them")
    with pytest.raises(CheckpointError, match="not a GGUF model"):
        GgufCheckpoint(path)
