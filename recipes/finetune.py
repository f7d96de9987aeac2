"""Fine-tuning.  accelerate launch recipes/finetune.py --model RUN --dataset path/to/labelled/data"""

import sys

from hfssl.catalog import DATA_CONFIGS
from hfssl.commands.task_choice import task_of_command
from hfssl.config.parse import parse


def main() -> None:
    config = task_of_command(sys.argv[1:])
    run = parse(config, DATA_CONFIGS[config.modality])
    from hfssl.catalog import task  # heavy imports after the flags are known to be good
    from hfssl.commands.finetune import finetune

    finetune(task(run.recipe)[1], run)


if __name__ == "__main__":
    main()
