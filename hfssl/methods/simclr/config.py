"""SimCLR (Chen et al. 2020): two views of an image find each other among the views of all other images."""

from dataclasses import dataclass
from typing import ClassVar

from hfssl.config.fields import option
from hfssl.methods.joint_embedding_settings import JointEmbeddingConfig, check_positive


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig(JointEmbeddingConfig):
    recipe: ClassVar[str] = "simclr"
    loss_unit: ClassVar[str] = "nats per view"

    temperature: float = option(0.1, "of the cosines: 0.1 on ImageNet, 0.5 on CIFAR-10 in the paper", basic=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
