"""What training by low-rank adapters can be told: flags for whatever starts from a checkpoint. No torch here."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from hfssl.config.fields import option
from hfssl.errors import require

AUTO = "auto"
_DEFAULT_RANK, _DEFAULT_ALPHA = 16, 32


class Settled(NamedTuple):
    """What holds with --lora."""

    rank: int
    alpha: int
    targets: tuple[str, ...]
    dropout: float


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """None stands for the default, so that a setting without effect is seen; `settled` says what holds."""

    lora: bool = option(False, "train low-rank adapters (LoRA) in the model of --init_from, whose weights are frozen")
    lora_rank: int | None = option(None, f"rank of the adapters' matrices (default: {_DEFAULT_RANK})")
    lora_alpha: int | None = option(None, f"adapters are scaled by alpha / rank (default: {_DEFAULT_ALPHA})")
    lora_targets: tuple[str, ...] | None = option(
        None, "names of the layers to adapt (default: auto, every linear layer of the body, not of the head)"
    )
    lora_dropout: float | None = option(None, "share of an adapter's inputs that is dropped (default: 0)")
    merge: bool = option(False, "export the whole model with the adapters added to its weights, not only the adapters")

    @property
    def settled(self) -> "Settled":
        return Settled(
            _DEFAULT_RANK if self.lora_rank is None else self.lora_rank,
            _DEFAULT_ALPHA if self.lora_alpha is None else self.lora_alpha,
            (AUTO,) if self.lora_targets is None else self.lora_targets,
            0.0 if self.lora_dropout is None else self.lora_dropout,
        )

    @property
    def exports_adapter(self) -> bool:
        return self.lora and not self.merge

    def merged(self) -> Self | None:
        """The same training, exported as a whole model; None without --lora."""
        return replace(self, merge=True) if self.lora else None

    def written_out(self) -> dict[str, Any]:
        """The settings with their defaults in numbers, for a run's config.yaml; nothing without --lora."""
        return {f"lora_{name}": value for name, value in self.settled._asdict().items()} if self.lora else {}

    def check_lora(self) -> None:
        """Raise ConfigError for values that cannot work, and for settings without effect."""
        given: dict[str, Any] = {"merge": self.merge, "lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha}
        given |= {"lora_targets": self.lora_targets, "lora_dropout": self.lora_dropout}
        for name, value in given.items():
            without_effect = value is not None and value is not False and not self.lora
            require(not without_effect, f"{name} has no effect without --lora: add --lora, or leave {name} out")
        rank, alpha, targets, dropout = self.settled
        require(rank > 0, f"lora_rank must be above 0, got {rank}")
        require(alpha > 0, f"lora_alpha must be above 0, got {alpha}")
        require(bool(targets), "lora_targets must name a layer, or be auto")
        require(
            AUTO not in targets or len(targets) == 1,
            f"lora_targets must be auto by itself or names of layers, got {' '.join(targets)}",
        )
        require(0 <= dropout < 1, f"lora_dropout must be in [0, 1), got {dropout:g}")

    def check_base(self, init_from: str | None) -> None:
        """Raise ConfigError where there are no trained weights to adapt."""
        require(
            not self.lora or init_from is not None,
            "lora needs --init_from, the checkpoint to adapt: adapters on random weights teach nothing",
        )
