"""An Export as a folder that strangers load with plain `from_pretrained`."""

import shutil
from pathlib import Path

from safetensors.torch import save_file

from hfssl.objective import Export


def write_export(export: Export, folder: Path) -> None:
    """Encoder and processor at the root, the full model in `pretraining/`, other heads in `heads.safetensors`.

    The folder appears whole: it is written beside and renamed; an older one is replaced.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    export.model.save_pretrained(unfinished)
    export.processor.save_pretrained(unfinished)
    if export.pretraining_model is not None:
        export.pretraining_model.save_pretrained(unfinished / "pretraining")
        export.processor.save_pretrained(unfinished / "pretraining")
    if export.heads:
        save_file(
            {name: tensor.contiguous() for name, tensor in export.heads.items()}, unfinished / "heads.safetensors"
        )
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
