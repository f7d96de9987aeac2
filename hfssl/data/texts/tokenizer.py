"""The tokenizer of a run: one that exists, or one that is trained on the run's own texts, as BERT's, GPT-2's or XLNet's.

Trained ones are stock `PreTrainedTokenizerFast`: `AutoTokenizer` opens them without hfssl.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig, TokenizerKind
from hfssl.data.texts.rows import text_bytes, texts
from hfssl.errors import ConfigError, require

FORMAT = 1  # of the training: a new number leaves cached tokenizers alone
TRAINING_BYTES = 200_000_000  # of text that a tokenizer is trained on: evenly spaced rows of a larger set
_LARGEST_ALPHABET = 1000  # BERT's; rarer characters are unknown
_UNNEEDED_STEP = 1e-4  # of the library's unigram trainer
_BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
_MASK = AddedToken(
    "<mask>", lstrip=True, special=True
)  # the space before a masked word is part of that word's first token
_ROBERTA_ORDER = ["<s>", "<pad>", "</s>", "<unk>", _MASK]


def train_tokenizer(
    texts: Iterable[str], kind: TokenizerKind, vocab_size: int, lowercase: bool, *, model_max_length: int = 512
) -> PreTrainedTokenizerFast:
    """A tokenizer trained on `texts`; the same texts in the same order give the same tokenizer.

    Args:
        kind: `wordpiece` as BERT, `bpe` (byte-level) as RoBERTa and GPT-2, `unigram` with one space between words as XLNet.
        vocab_size: tokens at the most, special ones included; fewer where the texts do not hold as many.
        lowercase: read everything in lower case (wordpiece: without accents, too).
        model_max_length: where a plain call with `truncation=True` cuts.

    Raises:
        ConfigError: the texts have more characters than a unigram vocabulary can hold.
    """
    tokenizer = _TRAINERS[kind](texts, vocab_size, lowercase)
    special = _BERT_TOKENS if kind == "wordpiece" else _ROBERTA_TOKENS
    tokenizer.post_processor = _around(tokenizer, special)
    names = (
        ["input_ids", "token_type_ids", "attention_mask"] if kind == "wordpiece" else ["input_ids", "attention_mask"]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=model_max_length,
        model_input_names=names,
        **special,
    )


def _wordpiece(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    """The trainer numbers characters as a randomly seeded hash map brings them, and ties between merges follow those
    numbers. So characters get theirs beforehand, as tokens of the trainer that the tokenizer then forgets."""
    texts = list(texts)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    most = min(_LARGEST_ALPHABET, vocab_size // 4)  # a character may stand in the vocabulary with and without ##
    alphabet = _most_frequent_characters(texts, tokenizer.normalizer, most)
    inside = [f"##{character}" for character in alphabet if _can_stand_inside(character, tokenizer)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=[*_BERT_TOKENS.values(), *alphabet, *inside],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    trained = Tokenizer.from_str(tokenizer.to_str())
    trained.train_from_iterator(texts, trainer)
    tokenizer.model = models.WordPiece(trained.get_vocab(), unk_token="[UNK]")
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _most_frequent_characters(texts: Iterable[str], normalizer: normalizers.Normalizer, most: int) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    ranked = sorted((-count, character) for character, count in counts.items() if not character.isspace())
    return sorted(character for _, character in ranked[:most])


def _can_stand_inside(character: str, tokenizer: Tokenizer) -> bool:
    """Not what the pre-tokenizer cuts out as a word of its own: punctuation, Chinese characters."""
    word = tokenizer.normalizer.normalize_str(f"a{character}a")
    return len(tokenizer.pre_tokenizer.pre_tokenize_str(word)) == 1


def _bpe(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=_ROBERTA_ORDER,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    lower = [normalizers.Lowercase()] if lowercase else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *lower, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=_ROBERTA_ORDER, unk_token="<unk>", show_progress=False
    )
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:  # the library raises nothing more special
        require(
            "not large enough" not in str(error), f"vocab_size {vocab_size} has no room for all characters: raise it"
        )
        raise
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary = [(token, score) for token, score in trained["vocab"]]
    special, pieces = vocabulary[: len(_ROBERTA_ORDER)], vocabulary[len(_ROBERTA_ORDER) :]
    tokenizer.model = models.Unigram(special + _in_fixed_order(pieces), trained["unk_id"], False)
    return tokenizer


def _in_fixed_order(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The same pieces whatever order the trainer's randomly seeded hash map had them in.

    Sums differ in their last bits, and characters that no sentence needs get the lowest score plus 0, 1, 2, ... times
    0.0001 as they come: here by their code.
    """
    lowest = min(score for _, score in pieces)
    steps = {token: (score - lowest) / _UNNEEDED_STEP for token, score in pieces if len(token) == 1}
    unneeded = sorted(token for token, step in steps.items() if step < len(steps) and abs(step - round(step)) < 1e-3)
    scores = dict(pieces)
    ranked = dict(zip(unneeded, sorted((scores[token] for token in unneeded), reverse=True), strict=True))
    rounded = [(token, round(ranked.get(token, score), 6)) for token, score in pieces]
    return sorted(rounded, key=lambda piece: (-piece[1], piece[0]))


_TRAINERS: dict[TokenizerKind, Callable[[Iterable[str], int, bool], Tokenizer]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
}


def _around(tokenizer: Tokenizer, special: dict[str, str]) -> processors.TemplateProcessing:
    """The special tokens around one sequence or a pair, as BERT and RoBERTa have them."""
    cls, sep = special["cls_token"], special["sep_token"]
    ids = [(token, tokenizer.token_to_id(token)) for token in (cls, sep)]
    pairs = {"[CLS]": "[CLS] $A [SEP] $B:1 [SEP]:1", "<s>": "<s> $A </s> </s> $B </s>"}
    return processors.TemplateProcessing(single=f"{cls} $A {sep}", pair=pairs[cls], special_tokens=ids)


def open_tokenizer(data: TextDataConfig, source: Source | None, further: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer that `data` names, or one trained on `source`, which is kept on disk for all ranks and later runs.

    Args:
        further: columns of texts that it is trained on too.

    Raises:
        ConfigError: neither is asked for, it cannot be loaded, or it is not a fast one.
    """
    if data.tokenizer is not None:
        return _loaded(data.tokenizer)
    require(data.train_tokenizer is not None, "a tokenizer is needed: set --tokenizer or --train_tokenizer")
    assert data.train_tokenizer is not None
    assert source is not None
    case = "lower" if data.lowercase else "cased"
    settings = f"{data.train_tokenizer}-{data.trained_vocab_size}-{case}"
    columns = hashlib.sha256(json.dumps(further).encode()).hexdigest()[:8] + "-" if further else ""
    folder = cache_root("tokenizers") / f"{source.fingerprint()}-{columns}{settings}-v{FORMAT}"
    made_once(folder, is_sealed, partial(_train_into, data=data, source=source, further=further))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.model_max_length = data.max_length
    return tokenizer


def _loaded(name: str) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(Path(name).expanduser() if Path(name).expanduser().exists() else name)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"--tokenizer {name} cannot be loaded: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(f"--tokenizer {name} is not a fast tokenizer ({type(tokenizer).__name__}), which is needed")
    return tokenizer


def _train_into(folder: Path, data: TextDataConfig, source: Source, further: Sequence[str]) -> None:
    assert data.train_tokenizer is not None
    every = max(1, math.ceil(text_bytes(source) / TRAINING_BYTES))
    part = "" if every == 1 else f" on every {every}th row"
    print(f"training a {data.train_tokenizer} tokenizer{part}", flush=True)
    rows = texts(source, every, further=further)
    tokenizer = train_tokenizer(rows, data.train_tokenizer, data.trained_vocab_size, data.lowercase)
    tokenizer.save_pretrained(folder)
    seal(folder)
