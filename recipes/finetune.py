"""Fine-tuning.  accelerate launch recipes/finetune.py --task TASK --model RUN --dataset path/to/labelled/data"""

import sys

from hfssl.catalog import DATA_CONFIGS, task_config_of, task_names
from hfssl.config import ConfigError, exit_with, parse, split_flag


def main() -> None:
    try:
        name, argv = split_flag("--task", sys.argv[1:], task_names())
        config = task_config_of(name)
    except ConfigError as error:
        exit_with(error)
    sys.argv[1:] = argv
    run = parse(config, DATA_CONFIGS[config.modality])
    sys.argv[1:1] = ["--task", name]  # the command as it is recorded
    from hfssl.catalog import task  # heavy imports after the flags are known to be good
    from hfssl.finetune import finetune

    finetune(task(name)[1], run)


if __name__ == "__main__":
    main()
