"""What a run is made from, as one value, so that every step from settings to weights takes the same."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from accelerate import Accelerator
from transformers import PretrainedConfig

from hfssl.config.run_config import RunConfig
from hfssl.objective import Objective


@dataclass(frozen=True)
class Blueprint:
    """What is built and trained, wherever that is.

    model_config: the transformers config that --init_from, --model or --model_config brought; None where flags give the sizes.
    """

    objective_class: type[Objective]
    run: RunConfig
    model_config: PretrainedConfig | None

    def with_run(self, run: RunConfig) -> Self:
        """The same with other settings."""
        return dataclasses.replace(self, run=run)

    def with_loop(self, **values: Any) -> Self:
        """The same with other settings of the loop."""
        return self.with_run(dataclasses.replace(self.run, loop=dataclasses.replace(self.run.loop, **values)))

    def on(self, accelerator: Accelerator) -> "RunContext":
        """The same on devices."""
        return RunContext(self.objective_class, self.run, self.model_config, accelerator)


@dataclass(frozen=True)
class RunContext(Blueprint):
    """A blueprint with the accelerator of this process, on which it is trained or tried."""

    accelerator: Accelerator

    @property
    def blueprint(self) -> Blueprint:
        """The part that another process can be given."""
        return Blueprint(self.objective_class, self.run, self.model_config)
