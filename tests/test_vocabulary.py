"""A checkpoint's embeddings and the tokenizer: rows keep their meaning, or the run is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.errors import ConfigError
from hfssl.methods.mlm.config import MLMConfig
from hfssl.methods.mlm.objective import MLM
from hfssl.training.loop import Session
from tests.support.laboratory import few_texts, open_small


def checkpoint(opened: Session, folder: Path, num_padding: int = 0) -> str:
    """The session's model and tokenizer, with rows that no token uses."""
    model: Any = copy.deepcopy(opened.objective.model)
    model.resize_token_embeddings(len(opened.rows.pipeline.processor) + num_padding)
    model.save_pretrained(folder)
    opened.rows.pipeline.processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", ["mlm", "clm"])
def test_rows_that_no_token_uses_are_left_behind(name: str, tmp_path: Path) -> None:
    opened = open_small(name, tmp_path / "run")
    place = checkpoint(opened, tmp_path / "padded", num_padding=7)
    with torch.no_grad():
        ids = torch.arange(5, 15)[None]
        expected = opened.objective.eval().model(input_ids=ids).logits
        for parameter in opened.objective.parameters():
            parameter.zero_()
        report = opened.objective.load_pretrained(place)
        assert torch.allclose(opened.objective.model(input_ids=ids).logits, expected, atol=1e-6)
    assert report.new == []


def test_a_larger_or_another_vocabulary_is_refused(tmp_path: Path) -> None:
    opened = open_small("mlm", tmp_path / "run")
    place = checkpoint(opened, tmp_path / "checkpoint")
    objective, own = opened.objective, opened.rows.pipeline.processor
    larger = copy.deepcopy(own)
    larger.add_tokens(["new1", "new2"])
    objective._tokenizer = larger
    with pytest.raises(ConfigError, match=rf"has {len(own) + 2} tokens, more than the {len(own)} rows of --init_from"):
        objective.load_pretrained(place)
    words = [few_texts().sample(row)[::-1] for row in range(32)]
    objective._tokenizer = train_tokenizer(words, "wordpiece", 300, False)
    with pytest.raises(ConfigError, match=r"is not that of --init_from .* leave --tokenizer and --train_tokenizer out"):
        objective.load_pretrained(place)


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([few_texts().sample(row) for row in range(32)], "bpe", 300, False)
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>", pad_token="</s>")
    plain.save_pretrained(tmp_path / "tokenizer")
    flags = ["--config", "demo", "--train_tokenizer", "none", "--vocab_size", "none", "--lowercase", "false"]
    flags += ["--tokenizer", str(tmp_path / "tokenizer"), "--output_dir", str(tmp_path / "run"), "--cpu_threads", "1"]
    with pytest.raises(ConfigError, match="has no mask token: choose one made for masked language models, or use clm"):
        pretrain(MLM, parse(MLMConfig, TextDataConfig, flags))
