"""Which description a run has: `kind` of its config.yaml, asked once."""

from hfssl.checkpoints.exports import Exported
from hfssl.reporting.facts import Facts
from hfssl.reporting.fine_tuned import FineTuned
from hfssl.reporting.label_study import LabelStudy
from hfssl.reporting.pretrained import LanguageModel, PretrainedEncoder
from hfssl.reporting.run_kind import RunKind

KINDS: dict[str, type[RunKind]] = {
    "encoder": PretrainedEncoder,
    "language_model": LanguageModel,
    "task": FineTuned,
    "label_study": LabelStudy,
}


def kind_of(facts: Facts, export: Exported | None = None) -> RunKind:
    """The description of a run; export: its model, None where there is none yet."""
    return KINDS[facts.config["kind"]](facts, export)
