"""Tiny checkpoints with tokenizers of their own, labelled texts as tables, and tasks opened on them, for tests."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from hfssl import catalog
from hfssl.commands import finetune
from hfssl.config.parse import make_run
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.run_dir import RunDir
from hfssl.runs import labelled as labelled_run
from hfssl.runs import open_session as session
from hfssl.runs.context import RunContext
from hfssl.training.accelerator import start
from hfssl.training.loop import Session
from hfssl.training.start import Start

WORDS = (["cat", "dog", "mat", "bird", "sat", "ran"], ["bank", "gold", "price", "bond", "sold", "rose"])
TYPES = ("bert", "roberta", "modernbert", "gpt2")
_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 34,
    "initializer_range": 0.3,
}
_OWN: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"},
}


def sentence(row: int, longest: int = 12) -> str:
    """Words of one of two kinds, by the parity of `row`."""
    generator = np.random.default_rng(row)
    return " ".join(generator.choice(WORDS[row % 2], generator.integers(3, longest)))


@functools.cache
def _tokenizer(kind: Any) -> Any:
    return train_tokenizer([sentence(row) for row in range(200)], kind, 300, False, model_max_length=32)


def checkpoint(model_type: str, folder: Path) -> str:
    """A language model with random weights and its tokenizer; GPT-2 without a padding token."""
    tokenizer = _tokenizer("wordpiece" if model_type == "bert" else "bpe")
    config = AutoConfig.for_model(model_type, **_SIZES | _OWN.get(model_type, {}))
    config.vocab_size = len(tokenizer)
    config.pad_token_id = None if model_type == "gpt2" else tokenizer.pad_token_id
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    config.bos_token_id, config.eos_token_id = tokenizer.cls_token_id, tokenizer.sep_token_id
    auto_class = AutoModelForCausalLM if model_type == "gpt2" else AutoModelForMaskedLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto_class.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if model_type == "gpt2":
        file = folder / "tokenizer_config.json"
        settings = json.loads(file.read_text())
        del settings["pad_token"]
        file.write_text(json.dumps(settings))
    return str(folder)


def table(rows: list[dict[str, Any]], file: Path) -> str:
    """A JSONL file of rows."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def classes(file: Path, count: int = 48) -> str:
    rows = [{"text": sentence(row), "second": sentence(row // 2), "label": row % 2} for row in range(count)]
    return table(rows, file)


def numbers(file: Path, count: int = 48) -> str:
    return table([{"text": sentence(row), "label": row % 2 + 0.25} for row in range(count)], file)


TAGS = {"cat": "B-PET", "dog": "B-PET", "bank": "B-FIRM", "bond": "I-FIRM"}


def tagged_rows(count: int = 48) -> list[dict[str, Any]]:
    """Sentences whose words tell their tags, in IOB2."""
    rows = []
    for row in range(count):
        generator = np.random.default_rng(row)
        tokens = generator.choice(["cat", "sat", "ran", "gold", "dog", "rose"], generator.integers(3, 9)).tolist()
        tokens += ["bank", "bond"] if row % 2 else ["mat"]
        rows.append({"tokens": tokens, "tags": [TAGS.get(token, "O") for token in tokens]})
    return rows


def tagged(file: Path, count: int = 48) -> str:
    return table(tagged_rows(count), file)


def question_rows(count: int = 48) -> list[dict[str, Any]]:
    """Texts longer than a window, of which the words after `bank` are asked for."""
    rows = []
    for row in range(count):
        generator = np.random.default_rng(row)
        words = generator.choice(["cat", "sat", "ran", "gold", "dog", "rose"], generator.integers(4, 40)).tolist()
        place = int(generator.integers(0, len(words)))
        before = " ".join([*words[:place], "bank"])
        start = len(before) + 1
        answers = {"text": [" ".join(words[place : place + 2])], "answer_start": [start]}
        context = f"{before} {' '.join(words[place:])}"
        rows.append({"context": context, "question": "bond price", "answers": answers})
    return rows


def run_of(
    task: str, model: str | None, dataset: str, folder: Path, *, loop: dict[str, Any] | None = None, **method: Any
) -> RunConfig:
    """A run of a task; keywords of its data are told from those of the task by their names."""
    of_data = {name: method.pop(name) for name in list(method) if name in TextDataConfig.__dataclass_fields__}
    settings: dict[str, Any] = {"output_dir": str(folder), "max_steps": 4, "global_batch_size": 8, "log_every": 2}
    settings |= {"save_every": 2, "evaluate_every": 2, "cpu_threads": 1} | (loop or {})
    optim = OptimConfig(base_learning_rate=method.pop("rate", 3e-3), adam_beta2=0.999)
    config: Any = catalog.task_config_of(task)
    return make_run(
        config(model=model, **method), TextDataConfig(dataset=dataset, **of_data), optim, LoopConfig(**settings)
    )


def opened(run: RunConfig) -> Session:
    """A session of a task, as fine-tuning opens it."""
    task: Any = catalog.task(run.recipe)[1]
    run, model_config = labelled_run.with_model(run)
    run = labelled_run.with_classes(task, run, labelled_run.open_divided(run).source)
    assert run.loop.output_dir is not None
    started = Start(RunDir(Path(run.loop.output_dir)), None, [])
    return session.open_session(RunContext(task, run, model_config, start(run.loop)), started, verbose=False)[0]


def trained(run: RunConfig) -> RunDir:
    """The folder of a run that is carried out."""
    return finetune.finetune(catalog.task(run.recipe)[1], run)  # type: ignore[arg-type]


def batch_of(parts: Session, count: int = 8) -> dict[str, torch.Tensor]:
    """The first training rows, as they are scored."""
    return parts.rows.pipeline.eval_transform([parts.rows.examples[row] for row in range(count)])


def gradients_of(objective: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of every parameter that has one, copied."""
    objective.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def disturbed(task: Any) -> Any:
    """Adapters and head moved away from where they start."""
    with torch.no_grad():
        for parameter in task.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return task.eval()


def opened_on(model_type: str, folder: Path, data: Any = classes, **settings: Any) -> Any:
    """Sequence classification of the rows that `data` writes."""
    if data is classes:
        settings = {"text_column": "text"} | settings
    model = checkpoint(model_type, folder / "model")
    return opened(run_of("sequence_classification", model, data(folder / "rows.jsonl"), folder / "run", **settings))
