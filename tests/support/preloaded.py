"""What the server of processes imports and makes before it forks: modules and rows that most laws need."""

from importlib import import_module

from hfssl.evaluation import linear_probe
from tests.support.laboratory import few_rows

for _name in (
    "hfssl.commands.finetune",
    "hfssl.commands.pretrain",
    "hfssl.methods.mae.objective",
    "hfssl.tasks.image_classification.objective",
    "tests.conftest",
    "torch._dynamo",
    "transformers.models.bert.modeling_bert",
    "transformers.models.vit.modeling_vit",
    "transformers.models.vit_mae.modeling_vit_mae",
):
    import_module(_name)
few_rows()
linear_probe.NUM_DRAWS = 2  # scripts whose scores nobody reads end sooner
