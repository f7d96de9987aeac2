"""Every command of `hfssl` by its name, in groups."""

from hfssl.catalog import method_names
from hfssl.commands.command import Command, Finetune, Group, Plain, Plan, Pretrain

GROUPS: dict[Group, str] = {
    "pretrain": "Pretrain on data without labels",
    "use": "Use a model",
    "publish": "Publish",
}
_PLAIN = (
    Plain(
        "preview",
        "pretrain",
        "Draw what a method will see of your images, before it trains",
        arguments="--dataset path/to/images --augmentation natural",
        config="hfssl.commands.preview_config:PreviewConfig",
        function="hfssl.commands.preview:preview",
    ),
    Plain(
        "presets",
        "pretrain",
        "Print the presets of a method or task side by side",
        arguments="mae",
        config="hfssl.commands.presets:PresetsConfig",
        function="hfssl.commands.presets:presets",
        positional="recipe",
        is_light=True,
    ),
    Plain(
        "evaluate",
        "use",
        "Score any checkpoint on labelled data: kNN, linear probe, label curve, with baselines",
        arguments="--model runs/mae-000 --dataset path/to/labelled/images",
        config="hfssl.evaluation.evaluate_config:EvaluateConfig",
        function="hfssl.commands.evaluate:evaluate",
    ),
    Plain(
        "embed",
        "use",
        "Write features of all images as Parquet; find neighbours and outliers; search by an image",
        arguments="--model runs/mae-000 --dataset path/to/images --neighbours 10",
        config="hfssl.commands.embed_config:EmbedConfig",
        function="hfssl.commands.embed:embed",
    ),
    Plain(
        "predict",
        "use",
        "Write the predictions of a fine-tuned model for files or table rows, as CSV or JSONL",
        arguments="--model runs/image_classification-000 --input path/to/files",
        config="hfssl.predicting.predict_config:PredictConfig",
        function="hfssl.commands.predict:predict",
    ),
    Plain(
        "export",
        "use",
        "Export a checkpoint of a running, killed or finished run",
        arguments="--run runs/mae-000 --step 500",
        config="hfssl.commands.export_config:ExportConfig",
        function="hfssl.commands.export:export_checkpoint",
        positional="run",
    ),
    Plain(
        "runs",
        "publish",
        "List all runs with state and scores; write one page that compares them",
        arguments="runs --sort knn",
        config="hfssl.commands.runs_config:RunsConfig",
        function="hfssl.commands.runs:runs",
        positional="folder",
        is_light=True,
    ),
    Plain(
        "report",
        "publish",
        "Write report and model card of a running, killed or finished run",
        arguments="--run runs/mae-000",
        config="hfssl.commands.report_config:ReportConfig",
        function="hfssl.commands.report:report",
        positional="run",
    ),
    Plain(
        "publish",
        "publish",
        "Publish a run on the Hub, in one commit",
        arguments="--run runs/mae-000 --hub_model_id NAME",
        config="hfssl.hub.publish_config:PublishConfig",
        function="hfssl.commands.publish:publish",
        positional="run",
    ),
)


def command_names() -> list[str]:
    """All subcommands, by group."""
    return [name for names in grouped_names().values() for name in names]


def grouped_names() -> dict[Group, list[str]]:
    """Group -> the names of its commands."""
    named: dict[Group, list[str]] = {"pretrain": [*method_names(), "plan"], "use": ["finetune"], "publish": []}
    for command in _PLAIN:
        named[command.group].append(command.name)
    return named


def find(name: str) -> Command:
    """The command of this name, which must exist."""
    if name in method_names():
        return Pretrain(name)
    if name == "finetune":
        return Finetune()
    return Plan() if name == "plan" else next(command for command in _PLAIN if command.name == name)
