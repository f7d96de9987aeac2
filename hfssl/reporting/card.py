"""The model card of a run: typed facts and a template, from the run folder only.

A card is made to be published: it holds no local path, host or user name, and "not measured" where evidence is missing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfssl.catalog import paper_of
from hfssl.checkpoints.exports import Exported, describe_export
from hfssl.config.paper import Paper, citation
from hfssl.evaluation.table import NOT_MEASURED, Table, layout_of_evaluation
from hfssl.reporting.command import hub_id, public_command, public_settings
from hfssl.reporting.facts import Facts, clock, facts_of, hardware
from hfssl.reporting.figure_kinds import figure_kind
from hfssl.reporting.kinds import kind_of
from hfssl.reporting.markdown import code_block, inline, one_line
from hfssl.reporting.run_kind import RunKind
from hfssl.reporting.scores import as_markdown, class_names, is_evaluation
from hfssl.reporting.text_examples import example_lines
from hfssl.run_dir import Json, JsonView, RunDir, write_text

LOCAL_DATA = "a local data set"
_TYPE_OF_LOCAL = LOCAL_DATA.replace(" ", "-")  # whatever it is called: no id of the Hub


class CardEvaluation(NamedTuple):
    """A further evaluation; classes are their names where the data is public, their number else."""

    data: str
    classes: str
    split: str
    train_rows: int
    test_rows: int
    notes: list[str]
    table: Table


@dataclass(frozen=True)
class Card:
    """What a model card says.

    kind: what is said of this kind of run.
    data: Hub id, demo name or what local data is called; data_id: its Hub id; rows_are: what `num_rows` counts.
    export: None in a run without one.
    alarms: signs of collapse that held to the end; num_looks: the number of validations.
    figures: first what was learned, then curves; examples: what a language model writes on texts that anybody may read.
    load_from: what the snippet loads, a folder next to the card or a Hub id; license: None until somebody chooses one.
    """

    name: str
    recipe: str
    kind: RunKind
    paper: Paper | None
    export: Exported | None
    data: str
    data_id: str | None
    data_revision: str | None
    data_license: str | None
    is_of_local_data: bool
    split: str
    num_rows: int | None
    rows_are: str
    bad_rows: int | None
    command: str
    settings: JsonView
    seed: int
    steps: int
    samples_seen: int
    num_epochs: float | None
    hardware: str
    precision: str
    versions: Mapping[str, str]
    wall_time: str
    energy: str
    final_loss: float | None
    base_model: str | None
    is_continuation: bool
    is_lora: bool
    summary: JsonView | None
    evaluations: list[CardEvaluation]
    warnings: list[str]
    alarms: list[str]
    num_looks: int
    figures: list[str]
    examples: list[str]
    load_from: str = "export"
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        return self.kind.state

    @property
    def is_finished(self) -> bool:
        return self.kind.is_finished

    @property
    def task(self) -> str | None:
        """The Hub's pipeline tag; none of a downstream task while there is no export."""
        return self.kind.pipeline_tag

    @property
    def title(self) -> str:
        return self.kind.title

    @property
    def samples(self) -> str:
        return self.kind.samples


def write_card(run_dir: RunDir) -> Path:
    """Write README.md of a run, finished or not; returns its path."""
    write_text(run_dir.card_file, render(card_of(run_dir)))
    return run_dir.card_file


def card_of(run_dir: RunDir, export: Path | None = None, step: int | None = None) -> Card:
    """The card of a run folder, finished or not.

    Args:
        export: another export than the run's own; step: that of its weights, where the run is not finished.

    Raises:
        ConfigError: a file of the folder cannot be read.
    """
    facts = facts_of(run_dir, step)
    exported = describe_export(export or run_dir.export)
    kind = kind_of(facts, exported)
    config, environment = facts.config, facts.environment
    data, data_id = _public_data(config)
    precision = environment.get("mixed_precision", NOT_MEASURED)
    known = {} if data == LOCAL_DATA else environment.get("data", {})
    name = facts.recipe.replace("_", "-")
    return Card(
        name=name if data == LOCAL_DATA else f"{name}-{re.split('[/:]', data)[-1]}",
        recipe=facts.recipe,
        kind=kind,
        paper=paper_of(facts.recipe),
        export=exported,
        data=data,
        data_id=data_id,
        data_revision=known.get("revision"),
        data_license=known.get("license"),
        is_of_local_data=data == LOCAL_DATA,
        split=config["data"]["split"],
        num_rows=facts.num_rows,
        rows_are=config["rows_are"],
        bad_rows=facts.last("bad_rows"),
        command=public_command(config, environment),
        settings=_told(public_settings(config)),
        seed=config["loop"]["seed"],
        steps=facts.step,
        samples_seen=facts.samples_seen,
        num_epochs=facts.last("epoch"),
        hardware=hardware(environment),
        precision="float32" if precision == "no" else precision,
        versions=environment.get("versions", {}),
        wall_time=clock(facts.seconds),
        energy=facts.energy,
        final_loss=facts.last("loss"),
        base_model=hub_id(config, "loop", "init_from"),
        is_continuation=config["loop"]["init_from"] is not None,
        is_lora=bool(config["method"].get("lora")),
        summary=facts.summary,
        evaluations=[_evaluation(content) for content in facts.evaluations.values() if is_evaluation(content)],
        warnings=kind.card_warnings(),
        alarms=facts.alarms,
        num_looks=len(facts.validation),
        figures=[f"figures/{path.name}" for path in _public_figures(run_dir, facts, data)],
        examples=[] if data == LOCAL_DATA else example_lines(facts.summary),
    )


def _told(settings: Mapping[str, JsonView]) -> dict[str, Json]:
    """Settings without those that are not set, and without the classes, which stand elsewhere."""
    return {
        section: {name: value for name, value in values.items() if value is not None and name != "class_names"}
        for section, values in settings.items()
    }


def _public_figures(run_dir: RunDir, facts: Facts, data: str) -> list[Path]:
    """All of the run's own for data that anybody can see; of a local data set only charts, no picture of its rows."""
    mine = [path for path in facts.figures if path.parent == run_dir.figures]
    return [path for path in mine if figure_kind(path).is_public] if data == LOCAL_DATA else mine


def render(card: Card) -> str:
    """The card as Markdown with its YAML head; every value is literal text unless we wrote it ourselves."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=inline,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template(card.kind.card_template)
    contents = {
        "card": card,
        "not_measured": NOT_MEASURED,
        "evaluations": [(evaluation, as_markdown(evaluation.table)) for evaluation in card.evaluations],
        "usage": None if card.export is None else code_block(card.kind.usage(card.export, card.load_from), "python"),
        "command": code_block(card.command, "bash"),
        **_figures(card),
        "examples": code_block("\n".join(map(one_line, card.examples)), "text") if card.examples else None,
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "settings": code_block(yaml.safe_dump(dict(card.settings), sort_keys=False, allow_unicode=True), "yaml"),
        "citation": None if card.paper is None else code_block(citation(card.recipe, card.paper), "bibtex"),
    }
    return f"---\n{metadata(card).to_yaml()}\n---\n\n{template.render(contents | card.kind.card_contents())}"


def _figures(card: Card) -> Json:
    """(caption, file) of what was learned, None where nothing shows it, and of the other figures."""
    shown = [(figure_kind(Path(figure)), figure) for figure in card.figures]
    learned = [(kind.caption, figure) for kind, figure in shown[:1] if kind.is_learned]
    others = [(kind.caption, figure) for kind, figure in shown[len(learned) :]]
    return {"learned": learned[0] if learned else None, "figures": others}


def metadata(card: Card) -> ModelCardData:
    """The YAML head, as the Hub reads it."""
    results = _eval_results(card)
    return ModelCardData(
        library_name="transformers" if card.export is None or card.export.base is None else "peft",
        pipeline_tag=card.task,
        license=card.license,
        license_name=card.license_name,
        license_link=card.license_link,
        language=list(card.languages) or None,
        tags=[*card.kind.tags, "hfssl", card.recipe],
        datasets=None if card.data_id is None else [card.data_id],
        base_model=card.base_model,
        model_name=one_line(card.name) if results else None,
        eval_results=results or None,
    )


def _eval_results(card: Card) -> list[EvalResult]:
    if card.summary is None or card.task is None:
        return []
    dataset = {
        "dataset_type": one_line(
            _TYPE_OF_LOCAL if card.is_of_local_data else card.data_id or card.data.replace(":", "-")
        ),
        "dataset_name": one_line(card.data),
    }
    return card.kind.results(card.task, dataset)


def _public_data(config: JsonView) -> tuple[str, str | None]:
    """(what a card calls the data, its Hub id or None)."""
    name = str(config["data"]["dataset"])
    if name.startswith("demo:"):
        return name, None
    found = hub_id(config, "data", "dataset")
    return found or LOCAL_DATA, found


def _evaluation(content: JsonView) -> CardEvaluation:
    is_public = content.get("local") is False
    return CardEvaluation(
        data=str(content["data"]) if is_public else LOCAL_DATA,
        classes=class_names(content) if is_public else str(len(content["classes"])),
        split=str(content["split"]),
        train_rows=content["train_rows"],
        test_rows=content["test_rows"],
        notes=content["notes"],
        table=layout_of_evaluation(content),
    )
