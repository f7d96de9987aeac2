"""What a run with adapters exports: an adapter in peft's format, or the merged model; and every reader of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, pipeline

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.checkpoints.exports import describe_export, write_export
from hfssl.commands.export import export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.text_features import open_text_encoder
from hfssl.methods.mlm.config import MLMConfig
from hfssl.methods.mlm.objective import MLM
from hfssl.models.lora import Adapter, merged, open_adapted
from hfssl.objective import Export
from hfssl.reporting.card import card_of, render
from hfssl.reporting.usage import usage
from hfssl.run_dir import RunDir
from hfssl.training.loop import Session
from tests.support.adapters import METHOD_OF, open_adapted_run, some_ids, trained, write_base
from tests.support.interpreter import Interpreter
from tests.support.laboratory import few_texts

pytestmark = pytest.mark.versions
every_type = pytest.mark.parametrize("model_type", METHOD_OF)
ALMOST = 1e-5

READ_EXPORTS = """
import json, torch, transformers
folders, is_merged = arguments
for folder in folders:
    task = json.load(open(folder + "/task.json"))
    auto = getattr(transformers, task["auto_class"])
    inputs = torch.load(folder + "/inputs.pt")
    if is_merged:
        answers = {"merged": auto.from_pretrained(folder + "/merged")}
    else:
        import peft
        answers = {
            "own": auto.from_pretrained(folder + "/export"),
            "on_base": peft.PeftModel.from_pretrained(auto.from_pretrained(task["base"]), folder + "/export"),
            "by_class": getattr(peft, task["peft_class"]).from_pretrained(folder + "/export"),
            "base": auto.from_pretrained(task["base"]),
        }
    with torch.no_grad():
        for name, model in answers.items():
            torch.save(model.eval()(**inputs).logits, f"{folder}/{name}.pt")
    if not is_merged:
        names = {}
        exec(task["usage"], names)
        torch.save(names["features"].clone(), folder + "/features.pt")
"""


class Adapted:
    """A trained run of adapters in a tiny model, its two exports, and what an interpreter without hfssl got from them."""

    def __init__(self, model_type: str, root: Path) -> None:
        self.folder = root / model_type
        self.base = write_base(model_type, self.folder)
        self.opened: Session = open_adapted_run(self.base, self.folder)
        trained(self.opened)
        self.objective = self.opened.objective.eval()
        write_export(self.objective.export(), self.folder / "export")
        whole = Export(merged(self.objective.model), self.opened.rows.pipeline.processor)
        write_export(whole, self.folder / "merged")
        self.inputs = {"input_ids": some_ids(self.opened)}
        torch.save(self.inputs, self.folder / "inputs.pt")
        is_causal = METHOD_OF[model_type] == "clm"
        task = {"auto_class": "AutoModelForCausalLM" if is_causal else "AutoModelForMaskedLM", "base": str(self.base)}
        task["peft_class"] = "AutoPeftModelForCausalLM" if is_causal else "AutoPeftModel"
        exported = describe_export(self.folder / "export")
        assert exported is not None
        task["usage"] = usage(exported, str(self.folder / "export"))
        (self.folder / "task.json").write_text(json.dumps(task))

    def logits(self) -> torch.Tensor:
        with torch.no_grad():
            return self.objective.model(**self.inputs).logits

    def answer(self, name: str) -> torch.Tensor:
        return torch.load(self.folder / f"{name}.pt")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, without_hfssl: Interpreter) -> dict[str, Adapted]:
    root = tmp_path_factory.mktemp("adapted")
    runs = {model_type: Adapted(model_type, root) for model_type in METHOD_OF}
    folders = [str(run.folder) for run in runs.values()]
    without_hfssl(READ_EXPORTS, folders, False)
    without_peft = Interpreter(without=("hfssl", "peft"))
    without_peft(READ_EXPORTS, folders, True)
    without_peft.close()
    return runs


@every_type
def test_adapter_and_merged_model_give_the_same_logits_without_hfssl(
    model_type: str, adapted: dict[str, Adapted]
) -> None:
    run = adapted[model_type]
    for name in ("own", "on_base", "by_class", "merged"):
        assert float((run.answer(name) - run.logits()).abs().max()) <= ALMOST
    assert float((run.answer("base") - run.logits()).abs().max()) > 1e-2


@every_type
def test_the_adapter_names_its_base_and_holds_nothing_of_it(model_type: str, adapted: dict[str, Adapted]) -> None:
    run = adapted[model_type]
    content = json.loads((run.folder / "export" / "adapter_config.json").read_text(encoding="utf-8"))
    assert content["base_model_name_or_path"] == str(run.base)
    assert content["task_type"] == ("CAUSAL_LM" if METHOD_OF[model_type] == "clm" else None)
    assert (content["r"], content["lora_alpha"]) == (4, 32)
    assert not (run.folder / "export" / "config.json").exists()
    exported = describe_export(run.folder / "export")
    assert exported is not None
    trainable = sum(p.numel() for p in run.objective.parameters() if p.requires_grad)
    assert (exported.base, exported.num_parameters) == (str(run.base), trainable)
    assert exported.architecture == type(run.objective.model).__name__
    assert exported.task == ("text-generation" if METHOD_OF[model_type] == "clm" else "fill-mask")


@every_type
@pytest.mark.parametrize("export", ["export", "merged"])
def test_features_of_either_export_are_those_of_the_run(
    model_type: str, export: str, adapted: dict[str, Adapted]
) -> None:
    run = adapted[model_type]
    samples, data_pipeline = run.opened.rows.pipeline.whole_examples(few_texts()), run.opened.rows.pipeline
    batch = data_pipeline.eval_transform([samples[row] for row in range(6)])
    encoder, bare = (open_text_encoder(folder, torch.device("cpu")) for folder in (run.folder / export, run.base))
    seen = (batch["segments"] > 0).long()
    pooled = []
    with torch.no_grad():
        for model in (encoder.model, bare.model):
            hidden = model(input_ids=batch["input_ids"], attention_mask=seen).last_hidden_state
            pooled.append((hidden * seen[:, :, None]).sum(1) / seen.sum(1, keepdim=True))
        features = run.objective.features(batch)
    assert float((pooled[0] - features).abs().max()) <= ALMOST
    assert float((pooled[1] - features).abs().max()) > 1e-3


@every_type
def test_the_usage_of_the_card_gives_the_features_of_the_run(model_type: str, adapted: dict[str, Adapted]) -> None:
    run = adapted[model_type]
    tokenizer = run.opened.rows.pipeline.processor
    inputs = tokenizer("your text", return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        expected = run.objective.model.base_model(**inputs).last_hidden_state.mean(dim=1)
    assert float((run.answer("features") - expected).abs().max()) <= ALMOST


def test_a_base_of_a_relative_path_is_recorded_by_its_whole_one(
    adapted: dict[str, Adapted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapted["bert"]
    monkeypatch.chdir(run.folder.parent)
    opened = open_adapted_run(Path("bert/base"), tmp_path)
    assert opened.run.loop.init_from == str(run.base)
    write_export(opened.objective.export(), tmp_path / "export")
    assert adapter_at(tmp_path / "export") == (str(run.base), "BertForMaskedLM", False)


def test_an_adapter_that_lacks_weights_is_refused(adapted: dict[str, Adapted], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = adapted["bert"]
    run.opened.objective.export().model.save_pretrained(tmp_path)
    run.opened.rows.pipeline.processor.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="lacks weights"):
        open_text_encoder(tmp_path, torch.device("cpu"))


FEW = ["--config", "demo", "--cpu_threads", "1", "--max_steps", "4", "--global_batch_size", "8", "--max_length", "32"]
BUILT = ["--hidden_size", "32", "--num_hidden_layers", "1", "--vocab_size", "400"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    rows = [json.dumps({"text": few_texts(0, 80).sample(row), "kind": row % 2}) for row in range(80)]
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("\n".join(rows), encoding="utf-8")
    return ["--dataset", str(file), "--label_column", "kind"]


def run(argv: list[Any]) -> RunDir:
    return pretrain(MLM, parse(MLMConfig, TextDataConfig, [*FEW, *map(str, argv)]))


@pytest.fixture(scope="module")
def chain(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, RunDir]:
    """(a run from nothing, a run that trained adapters in its model)."""
    root = tmp_path_factory.mktemp("chain")
    base = run([*texts, *BUILT, "--output_dir", root / "base"])
    settings = ["--lora", "--lora_rank", 4, "--base_learning_rate", 0.05]
    return base, run([*texts, "--init_from", base.path, *settings, "--output_dir", root / "adapter"])


def test_a_whole_run_ends_with_an_adapter_and_a_table_beside_its_base(chain: tuple[RunDir, RunDir]) -> None:
    base, with_adapter = chain
    assert adapter_at(with_adapter.export) == (str(base.export), "BertForMaskedLM", False)
    rows = {row["features"]: row for row in with_adapter.read_summary()["rows"]}
    assert list(rows) == ["TF-IDF", "before this run", "pretrained"]
    after_base = {row["features"]: row for row in base.read_summary()["rows"]}["pretrained"]
    assert rows["before this run"]["std"] == pytest.approx(after_base["std"], rel=1e-5)
    assert rows["pretrained"]["std"] != pytest.approx(after_base["std"], rel=1e-3)
    assert with_adapter.validation_rows()[0]["validation/loss"] == pytest.approx(
        base.validation_rows()[-1]["validation/loss"]
    )
    assert len(pipeline("fill-mask", model=str(with_adapter.export))("the cat [MASK] on a mat")) == 5
    stored = with_adapter.read_config()["method"]
    assert (stored["lora_rank"], stored["lora_alpha"], stored["lora_targets"]) == (4, 32, ["auto"])


def test_card_and_report_say_that_it_is_an_adapter_and_name_no_local_path(chain: tuple[RunDir, RunDir]) -> None:
    base, with_adapter = chain
    card = with_adapter.card_file.read_text(encoding="utf-8")
    assert "library_name: peft" in card
    assert "base_model" not in card.split("---")[1]
    assert "LoRA adapter of BertForMaskedLM" in card
    assert "publish the merged model instead" in card
    assert "an adapter was trained (LoRA, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).\n" in card
    assert str(base.path) not in card
    assert str(with_adapter.path) not in card
    assert "LoRA adapter of BertForMaskedLM" in with_adapter.report_file.read_text(encoding="utf-8")


def test_the_card_of_an_adapter_of_a_hub_model_names_it(chain: tuple[RunDir, RunDir], tmp_path: Path) -> None:
    config = chain[1].read_config()
    config["loop"]["init_from"], config["local"] = "someone/bert", ["dataset"]
    run_dir = RunDir(tmp_path)
    run_dir.write_config(config)
    write_export(open_adapted_export(chain[1]), run_dir.export)
    card = render(card_of(run_dir))
    assert "base_model: someone/bert" in card.split("---")[1]
    assert "started from the weights of someone/bert, which stayed as they were" in card
    assert "publish the merged model instead" not in card


def open_adapted_export(run_dir: RunDir) -> Export:
    from transformers import AutoTokenizer

    model, _ = open_adapted(AutoModelForMaskedLM, str(run_dir.export))
    return Export(Adapter(model), AutoTokenizer.from_pretrained(run_dir.export))


def test_a_checkpoint_is_merged_later_into_a_folder_of_its_own(
    chain: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    base, with_adapter = chain
    folder = export_checkpoint(ExportConfig(run=str(with_adapter.path), merge=True))
    assert folder == with_adapter.path / "export-merged"
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, alone = (
            AutoModelForMaskedLM.from_pretrained(place).eval()(input_ids=ids).logits
            for place in (folder, with_adapter.export)
        )
    assert torch.allclose(whole, alone, atol=ALMOST)
    assert describe_export(folder).base is None
    again = export_checkpoint(ExportConfig(run=str(with_adapter.path)))
    assert adapter_at(again).base == str(base.export)
    with pytest.raises(ConfigError, match=r"merge has no effect: .* trained no adapter"):
        export_checkpoint(ExportConfig(run=str(base.path), merge=True))


def test_a_run_goes_on_from_an_adapter_as_from_the_merged_model(
    chain: tuple[RunDir, RunDir], texts: list[str], tmp_path: Path
) -> None:
    _, with_adapter = chain
    end = with_adapter.validation_rows()[-1]["validation/loss"]
    start = [*texts, "--init_from", with_adapter.path]
    whole = run([*start, "--output_dir", tmp_path / "whole"])
    assert whole.validation_rows()[0]["validation/loss"] == pytest.approx(end, rel=1e-5)
    assert describe_export(whole.export).base is None
    second = run([*start, "--lora", "--merge", "--output_dir", tmp_path / "second"])
    assert second.validation_rows()[0]["validation/loss"] == pytest.approx(end, rel=1e-5)
    assert describe_export(second.export).base is None
    with pytest.raises(ConfigError, match=r"merge has no effect: .* exports the whole model anyway"):
        export_checkpoint(ExportConfig(run=str(second.path), merge=True))
    with pytest.raises(ConfigError, match="is an adapter itself: add --merge"):
        run([*start, "--lora", "--output_dir", tmp_path / "third"])
    assert not (tmp_path / "third").exists()


def test_adapters_need_a_checkpoint_to_adapt(texts: list[str], tmp_path: Path) -> None:
    for start in ([], ["--model_config", str(tmp_path)]):
        with pytest.raises(ConfigError, match="lora needs --init_from"):
            parse(MLMConfig, TextDataConfig, [*FEW, *texts, *start, "--lora"])
