"""The laws of fine-tuning on texts: stock's loss, strangers' answers, numbers, and what is refused."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    pipeline,
)

from hfssl.checkpoints.exports import write_export
from hfssl.commands.finetune import scored_by_export
from hfssl.data.texts.encodings import encoded_texts
from hfssl.data.texts.tokenizer import train_tokenizer
from hfssl.errors import ConfigError, Interrupted
from hfssl.evaluation.scoring import numbers as scoring_of_numbers
from hfssl.models.layer_decay import depths_of
from hfssl.models.text_head import body_of
from hfssl.runs.closing import Closing
from hfssl.runs.open_session import open_rows
from hfssl.training.interruption import StopRequest
from tests.support.texts_with_labels import (
    TYPES,
    batch_of,
    checkpoint,
    classes,
    gradients_of,
    numbers,
    opened,
    opened_on,
    question_rows,
    run_of,
    sentence,
    table,
    tagged_rows,
    trained,
)

SEQUENCE = "sequence_classification"
every_type = pytest.mark.parametrize("model_type", TYPES)


@every_type
@pytest.mark.parametrize("data", [classes, numbers])
def test_loss_and_gradients_are_those_of_the_stock_head(model_type: str, data: Any, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path, data)
    task, batch = parts.objective, batch_of(parts)
    output = task(batch, 0.0)
    ours = output.loss_sum / output.num_targets
    stock = task.model(**task.inputs(batch), labels=batch["labels"]).loss
    assert ours.item() == pytest.approx(stock.item(), rel=1e-6)
    own, others = gradients_of(task, ours), gradients_of(task, stock)
    assert own.keys() == others.keys()
    assert all(torch.allclose(own[name], others[name], atol=1e-6) for name in own)


@every_type
def test_the_body_is_the_checkpoint_s_and_the_head_is_fresh(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path)
    stock = AutoModel.from_pretrained(tmp_path / "model").state_dict()
    body = body_of(parts.objective.model).state_dict()
    assert [name for name in body if "pooler" not in name and not torch.equal(body[name], stock[name])] == []
    config = parts.objective.model.config
    assert config.id2label == {0: "0", 1: "1"}
    assert config.pad_token_id == parts.rows.pipeline.processor.pad_token_id


@pytest.mark.parametrize("names", [("0", "1"), ("1", "0")])
def test_the_head_of_a_classifier_is_taken_where_its_labels_are_the_same(names: Any, tmp_path: Path) -> None:
    first = opened_on("bert", tmp_path)
    write_export(first.objective.export(), tmp_path / "classifier")
    run = run_of(
        SEQUENCE,
        str(tmp_path / "classifier"),
        str(tmp_path / "rows.jsonl"),
        tmp_path / "next",
        text_column="text",
        class_names=names,
        loop={"seed": 1},
    )
    heads = [parts.objective.model.classifier.weight for parts in (first, opened(run))]
    assert torch.equal(*heads) == (names == ("0", "1"))


def test_a_modernbert_pretrained_for_means_is_read_by_its_mean(tmp_path: Path) -> None:
    model = checkpoint("modernbert", tmp_path / "model")
    config = AutoConfig.from_pretrained(model, classifier_pooling="cls")
    config.hfssl_pooling = "mean"
    config.save_pretrained(model)
    parts = opened(run_of(SEQUENCE, model, numbers(tmp_path / "rows.jsonl"), tmp_path / "run"))
    assert parts.objective.model.config.classifier_pooling == "mean"


@every_type
def test_a_pipeline_answers_as_the_task_does(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path)
    write_export(parts.objective.eval().export(), tmp_path / "export")
    ask = pipeline("text-classification", model=str(tmp_path / "export"), top_k=None, function_to_apply="none")
    said = ask([parts.rows.pipeline.shown(parts.rows.examples[row]) for row in range(8)])
    with torch.no_grad():
        answers = parts.objective.predictions(batch_of(parts))
    for (logits_C, _), scores in zip(answers, said, strict=True):
        by_name = {one["label"]: one["score"] for one in scores}
        assert [by_name["0"], by_name["1"]] == pytest.approx(logits_C.tolist(), abs=1e-5)


def test_a_pipeline_answers_pairs_as_the_task_does(tmp_path: Path) -> None:
    parts = opened_on("bert", tmp_path, second_text_column="second")
    assert int(parts.objective.inputs(batch_of(parts))["token_type_ids"].max()) == 1
    write_export(parts.objective.eval().export(), tmp_path / "export")
    ask = pipeline("text-classification", model=str(tmp_path / "export"), top_k=None, function_to_apply="none")
    row = parts.rows.examples[0]
    first, second = parts.rows.pipeline.shown(row).removeprefix("[CLS] ").removesuffix(" [SEP]").split(" [SEP] ")
    said = {one["label"]: one["score"] for one in ask({"text": first, "text_pair": second})}
    with torch.no_grad():
        logits_C = parts.objective.predictions(batch_of(parts, 1))[0][0]
    assert [said["0"], said["1"]] == pytest.approx(logits_C.tolist(), abs=1e-5)


@every_type
def test_padding_is_not_heard(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path)
    pipeline, task = parts.rows.pipeline, parts.objective.eval()
    together = batch_of(parts)
    assert bool((together["attention_mask"] == 0).any())
    with torch.no_grad():
        alone = torch.cat([task.logits(pipeline.eval_transform([parts.rows.examples[row]])) for row in range(8)])
        assert torch.allclose(task.logits(together), alone, atol=1e-5)


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), classes(tmp_path / "rows.jsonl")
    settings: dict[str, Any] = {"text_column": "text", "second_text_column": "second"}
    whole = trained(run_of(SEQUENCE, model, rows, tmp_path / "whole", **settings))
    asked = []

    def stop_soon(request: StopRequest) -> bool:
        asked.append(1)
        request.signal = signal.SIGTERM if len(asked) > 1 else None
        return request.signal is not None

    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "asked", stop_soon)
        with pytest.raises(Interrupted):
            trained(run_of(SEQUENCE, model, rows, tmp_path / "stopped", **settings))
    assert not (tmp_path / "stopped" / "export").exists()
    resumed = trained(run_of(SEQUENCE, model, rows, tmp_path / "stopped", **settings))
    ours, theirs = (
        AutoModelForSequenceClassification.from_pretrained(folder.export).state_dict() for folder in (whole, resumed)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_numbers_are_said_scored_and_drawn(tmp_path: Path) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), numbers(tmp_path / "rows.jsonl")
    folder = trained(run_of(SEQUENCE, model, rows, tmp_path / "run", loop={"max_steps": 60}))
    summary = folder.read_summary()
    assert summary is not None
    summary = summary["scores"]
    assert summary["pearson"] > 0.8
    assert summary["mean_squared_error"] < summary["of_mean"]
    assert (folder.figures / "scatter.png").is_file()
    config = AutoConfig.from_pretrained(folder.export)
    assert (config.num_labels, config.problem_type) == (1, "regression")
    said = pipeline("text-classification", model=str(folder.export))(sentence(1))[0]["score"]
    assert said == pytest.approx(1.25, abs=0.4)


def test_scores_of_numbers_are_those_of_a_slow_loop(tmp_path: Path) -> None:
    found = scoring_of_numbers.scores(None, [(1.0, 2.0), (2.0, 4.0), (4.0, 3.0)])
    assert found["mean_squared_error"] == pytest.approx((1 + 4 + 1) / 3)
    assert found["spearman"] == pytest.approx(0.5)
    assert scoring_of_numbers.scores(None, [(1.0, 2.0), (1.0, 3.0)])["pearson"] is None


@every_type
def test_empty_and_long_texts_are_trained_on_and_counted(
    model_type: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["", "cat " * 60, *(sentence(row) for row in range(30)), "  "]
    rows = [{"text": text, "label": row % 2} for row, text in enumerate(texts)]
    model = checkpoint(model_type, tmp_path / "model")
    parts = opened(run_of(SEQUENCE, model, table(rows, tmp_path / "rows.jsonl"), tmp_path / "run", test_share=0.1))
    said = capsys.readouterr().out
    source = open_rows(parts.run)
    train_texts = list(source.rows["text"])
    empty = sum(not text.strip() for text in train_texts)
    assert (f"{empty} of {len(train_texts)} texts of train are empty" in said) == (empty > 0)
    whole = parts.rows.pipeline.prepare(source)
    lengths = [len(whole[row][0]["input_ids"]) for row in range(len(whole))]
    assert max(lengths) == 32
    assert min(lengths) >= 1
    output = parts.objective(parts.rows.pipeline.eval_transform([whole[row] for row in range(len(whole))]), 0.0)
    assert bool(output.loss_sum.isfinite())


def test_texts_are_cut_where_stock_cuts_them_and_counted() -> None:
    tokenizer = train_tokenizer([sentence(row) for row in range(200)], "wordpiece", 300, False)
    pairs = (["cat " * 30, "dog"], ["bird " * 9, "mat"])
    encodings, found = encoded_texts(tokenizer, [pairs], 16)
    stock = tokenizer(*pairs, truncation=True, max_length=16)
    assert [encodings[row]["input_ids"].tolist() for row in range(2)] == stock["input_ids"]
    assert [encodings[row]["token_type_ids"].tolist() for row in range(2)] == stock["token_type_ids"]
    assert found.lines("train") == ["1 of 2 texts of train are longer than 16 tokens and are cut there"]


@every_type
def test_layers_are_found_for_decayed_rates(model_type: str, tmp_path: Path) -> None:
    parts = opened_on(model_type, tmp_path, layer_decay=0.5)
    names = [name for name, _ in parts.objective.model.named_parameters()]
    depths = depths_of(names)
    assert set(depths.values()) == {0, 1, 2, 3}
    assert {depths[name] for name in names if "classifier" in name or "score" in name or "pooler" in name} == {3}
    scales = {group["lr_scale"] for group in parts.objective.param_groups(0.1)}
    assert scales == {1.0, 0.5, 0.25, 0.125}


def test_class_weights_weigh_each_class_the_same(tmp_path: Path) -> None:
    rows = [{"text": sentence(row), "label": int(row % 4 == 0)} for row in range(80)]
    model = checkpoint("bert", tmp_path / "model")
    file = table(rows, tmp_path / "rows.jsonl")
    parts = opened(run_of(SEQUENCE, model, file, tmp_path / "run", class_weights="balanced"))
    labels = torch.from_numpy(parts.rows.examples.numbers_N)
    weights = parts.objective.class_weights_C[labels]
    assert float(weights[labels == 0].sum()) == pytest.approx(float(weights[labels == 1].sum()), rel=1e-6)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "several columns fit .*--text_column"),
    ({"text_column": "text", "max_length": 64}, "max_length 64 is more than the 34 positions"),
    ({"text_column": "text", "second_text_column": "third"}, "--second_text_column third is not in the split train"),
    ({"text_column": "text", "second_text_column": "label"}, "--second_text_column label holds no texts but Value"),
    ({"text_column": "text", "second_text_column": "text"}, "is the first one too"),
    ({"text_column": "text", "no_packing": True}, "no_packing has no effect on a task"),
    ({"text_column": "text", "train_tokenizer": "bpe"}, "train_tokenizer has no effect with --model"),
    ({"text_column": "label"}, "--text_column label is the column of the labels"),
    ({"text_column": "text", "label_column": "kind"}, "--label_column kind is not a column"),
    ({"text_column": "text", "problem": "numbers", "label_smoothing": 0.1}, "label_smoothing has no effect"),
    ({"text_column": "text", "layer_decay": 0.5, "adaptation": "frozen"}, "layer_decay has no effect"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_can_not_work_is_one_clear_line(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    model, rows = checkpoint("bert", tmp_path / "model"), classes(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match=message) as caught:
        opened(run_of(SEQUENCE, model, rows, tmp_path / "run", **settings))
    assert "\n" not in str(caught.value)


def test_rows_that_can_not_be_learnt_from_are_refused(tmp_path: Path) -> None:
    model = checkpoint("bert", tmp_path / "model")
    texts = [sentence(row) for row in range(20)]
    floats = table([{"text": text, "label": 0.5} for text in texts], tmp_path / "floats.jsonl")
    holes = table(
        [{"text": text, "label": None if row == 7 else 0.5} for row, text in enumerate(texts)], tmp_path / "holes.jsonl"
    )
    whole = table([{"text": text, "label": float(row % 2)} for row, text in enumerate(texts)], tmp_path / "whole.jsonl")
    unlabelled = table([{"text": text} for text in texts], tmp_path / "bare.jsonl")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("cat")
    cases: list[tuple[str, dict[str, Any], str]] = [
        (floats, {"problem": "classes"}, "are floats, which name no classes"),
        (whole, {}, r"are 0, 1, stored as floats: set --problem classes, or --problem numbers"),
        (floats, {"class_weights": "balanced"}, "class_weights has no effect where numbers"),
        (holes, {"test_share": 0.5}, "labels of the split .* are missing or not finite"),
        (unlabelled, {}, "no column of labels: name one with --label_column"),
        (str(tmp_path / "texts"), {}, "is plain text, which has no labels"),
    ]
    for dataset, settings, message in cases:
        with pytest.raises(ConfigError, match=message):
            opened(run_of(SEQUENCE, model, dataset, tmp_path / "run", **settings))


@pytest.mark.parametrize(("numbers", "names"), [((0.0, 1.0), ("0", "1")), ((-1, 1), ("-1", "1"))])
def test_few_whole_numbers_and_minus_one_beside_one_are_classes(
    numbers: tuple[float, float], names: tuple[str, str], tmp_path: Path
) -> None:
    rows = table([{"text": sentence(row), "label": numbers[row % 2]} for row in range(40)], tmp_path / "rows.jsonl")
    settings = {"problem": "classes"} if isinstance(numbers[0], float) else {}
    session = opened(run_of(SEQUENCE, checkpoint("bert", tmp_path / "model"), rows, tmp_path / "run", **settings))
    assert session.run.method.class_names == names


def test_the_export_answers_the_test_rows(tmp_path: Path) -> None:
    parts = opened_on("bert", tmp_path)
    write_export(parts.objective.eval().export(), parts.run_dir.export)
    tested = open_rows(parts.run).test
    with torch.no_grad():
        whole = parts.rows.pipeline.whole_examples(tested)
        said = parts.objective.logits(parts.rows.pipeline.eval_transform([whole[row] for row in range(len(tested))]))
    expected = float((said.argmax(dim=1) == torch.from_numpy(whole.numbers_N)).float().mean())
    assert scored_by_export(parts, tested, Closing(parts.run_dir))["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("task", ["sequence_classification", "token_classification", "question_answering"])
def test_a_tokenizer_trained_for_a_task_knows_every_word_that_the_task_reads(task: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "bert", **small}))
    rows: list[dict[str, Any]] = {
        "sequence_classification": [{"text": "cat", "second": "bond", "label": row % 2} for row in range(48)],
        "token_classification": tagged_rows(),
        "question_answering": question_rows(),
    }[task]
    settings: dict[str, Any] = {"text_column": "text", "second_text_column": "second"} if "second" in rows[0] else {}
    settings |= {"train_tokenizer": "wordpiece", "vocab_size": 300, "loop": {"model_config": str(tmp_path / "model")}}
    run = run_of(task, None, table(rows, tmp_path / "rows.jsonl"), tmp_path / "run", **settings)
    tokenizer = opened(run).rows.pipeline.processor
    assert tokenizer.tokenize("cat bond") == ["cat", "bond"]
