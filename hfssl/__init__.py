"""Self-supervised pretraining inside the Hugging Face ecosystem: `import hfssl; run = hfssl.pretrain("mae", dataset="path")`.

Importing this package imports nothing else; what is used is imported then.
"""

from typing import TYPE_CHECKING, Any

from hfssl.version import __version__

if TYPE_CHECKING:
    from hfssl.api import Run, embed, evaluate, finetune, plan, predict, pretrain, publish

__all__ = ["Run", "__version__", "embed", "evaluate", "finetune", "plan", "predict", "pretrain", "publish"]
_LAZY = [name for name in __all__ if name != "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from hfssl import api

        return getattr(api, name)
    raise AttributeError(f"module 'hfssl' has no attribute {name!r}; it has: {', '.join(_LAZY)}")


def __dir__() -> list[str]:
    return __all__
