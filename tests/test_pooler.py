"""Whether a stock class has a pooler is asked in one place, of the classes themselves."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from hfssl.checkpoints.exports import Exported
from hfssl.models.pooler import pooler_in, untrained, without_pooler_of, without_pooler_of_type
from hfssl.reporting.usage import usage

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
IMAGES = SIZES | {"image_size": 8, "patch_size": 4}
SPEECH = SIZES | {"conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,), "num_feat_extract_layers": 1}
SPEECH |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
SWIN = {"image_size": 8, "patch_size": 2, "embed_dim": 8, "depths": [1], "num_heads": [2], "window_size": 2}
STOCK = {
    "vit": (IMAGES, True),
    "deit": (IMAGES, True),
    "beit": (IMAGES, True),
    "swin": (SWIN, True),
    "dinov2": (IMAGES, False),
    "dinov2_with_registers": (IMAGES, False),
    "convnext": ({"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2}, False),
    "resnet": ({"hidden_sizes": [8, 8], "depths": [1, 1], "embedding_size": 8}, False),
    "bert": (SIZES | {"vocab_size": 16}, True),
    "roberta": (SIZES | {"vocab_size": 16}, True),
    "distilbert": ({"vocab_size": 16, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}, False),
    "modernbert": (SIZES | {"vocab_size": 16, "pad_token_id": 0}, False),
    "gpt2": ({"vocab_size": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}, False),
    "wav2vec2": (SPEECH, False),
    "hubert": (SPEECH, False),
}
of_every_type = pytest.mark.parametrize("model_type", STOCK)


@of_every_type
def test_the_option_is_given_to_the_classes_that_take_it(model_type: str) -> None:
    sizes, has_option = STOCK[model_type]
    config = AutoConfig.for_model(model_type, **sizes)
    assert without_pooler_of(config) == ({"add_pooling_layer": False} if has_option else {})
    assert without_pooler_of_type(model_type) == without_pooler_of(config)


@of_every_type
def test_a_model_built_with_it_has_no_pooler_with_weights(model_type: str) -> None:
    sizes, has_option = STOCK[model_type]
    config = AutoConfig.for_model(model_type, **sizes)
    with torch.device("meta"):
        bare = AutoModel.from_config(config, **without_pooler_of(config))
        stock = AutoModel.from_config(config)
    assert not has_option or pooler_in(bare) is None
    assert not any("pooler" in name for name in bare.state_dict())
    assert untrained(stock.state_dict().keys() - bare.state_dict().keys()) == []
    assert untrained(bare.state_dict()) == sorted(bare.state_dict())


def test_a_type_that_nobody_knows_has_none() -> None:
    assert without_pooler_of_type("nothing") == {}
    assert without_pooler_of_type(None) == {}


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("vit", "ViTModel"), ("swin", "SwinModel"), ("dinov2", "Dinov2Model"), ("bert", "BertForMaskedLM")],
)
def test_a_snippet_leaves_out_the_pooler_that_its_class_would_add(model_type: str, architecture: str) -> None:
    snippet = usage(Exported(architecture, model_type, "mean", 3, 10), "export")
    assert (", add_pooling_layer=False)" in snippet) == STOCK[model_type][1]
