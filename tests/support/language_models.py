"""Tiny stock language models with random weights, by model type."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

VOCABULARY = 50
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "initializer_range": 0.3,  # at the usual 0.02 attention barely matters, and a leak would be small
}
_DECODER = _SIZES | {"num_key_value_heads": 1, "head_dim": 8}
_OWN_NAMES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 8},
    "convbert": {"embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3},
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": False},
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4, "query_pre_attn_scalar": 8, "final_logit_softcapping": 0.5},
    "mamba": {"state_size": 4},
    "bloom": {"n_layer": 2, "n_head": 2},
}
MASKED = ("bert", "roberta", "distilbert", "modernbert", "electra", "camembert", "mpnet", "xlm-roberta", "ernie")
CAUSAL = ("gpt2", "llama", "qwen2", "qwen3", "gpt_neox", "mistral", "gemma2")
EAGER_ONLY = ("mpnet", "gemma2")


def tiny(model_type: str, attention: str | None = None) -> Any:
    """The language model that is trained of this type: masked or causal."""
    return (tiny_causal if model_type in CAUSAL else tiny_masked)(model_type, attention)


def tiny_masked(model_type: str, attention: str | None = None) -> Any:
    """A masked language model in eval mode; the same weights at each call. `attention`: sdpa, eager or stock's choice."""
    return _built(AutoModelForMaskedLM, model_type, attention, _SIZES)


def tiny_causal(model_type: str, attention: str | None = None) -> Any:
    """A causal language model in eval mode; the same weights at each call. `attention`: sdpa, eager or stock's choice."""
    return _built(AutoModelForCausalLM, model_type, attention, _DECODER)


def _built(auto_class: Any, model_type: str, attention: str | None, sizes: dict[str, Any]) -> Any:
    config = AutoConfig.for_model(model_type, **sizes | _OWN_NAMES.get(model_type, {}))
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)  # so that training mode draws nothing
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto_class.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():
            if parameter.ndim < 2:  # biases that are not zero, so that a head without its bias is seen
                torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
    return model.eval()


def token_ids(num_rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Random ordinary tokens; (B, T) int64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY, (num_rows, length), generator=generator)
