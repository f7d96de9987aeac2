"""Self-supervised pretraining inside the Hugging Face ecosystem: `import hfssl; run = hfssl.pretrain("mae", dataset="path")`.

Importing this package imports nothing else; what is used is imported then.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfssl.api import Run, embed, evaluate, finetune, plan, predict, pretrain, publish

__version__ = "0.1.0"
__all__ = ["Run", "embed", "evaluate", "finetune", "plan", "predict", "pretrain", "publish"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from hfssl import api

        return getattr(api, name)
    raise AttributeError(f"module 'hfssl' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
