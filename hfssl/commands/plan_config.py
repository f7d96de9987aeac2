"""What recipes/plan.py can be told: the name of a recipe, then the flags of that recipe."""

import sys
from collections.abc import Sequence

from hfssl.catalog import DATA_CONFIGS, config_of, method_names
from hfssl.config.parse import parse
from hfssl.config.run_config import RunConfig
from hfssl.errors import ConfigError, exit_with, require


def parse_plan(argv: Sequence[str] | None = None) -> RunConfig:
    """The run that `RECIPE [flags]` asks for; None takes the command line of this process, as in `config.parse`."""
    given = list(sys.argv[1:] if argv is None else argv)
    usage = f"python recipes/plan.py {' | '.join(method_names())} [flags of that recipe]"
    if given[:1] in (["--help"], ["-h"]):
        print(f"usage: {usage}")
        raise SystemExit(0)
    try:
        require(bool(given) and not given[0].startswith("-"), f"name the recipe first: {usage}")
        method = config_of(given[0])
    except ConfigError as error:
        if argv is not None:
            raise
        exit_with(error)
    if argv is not None:
        return parse(method, DATA_CONFIGS[method.modality], given[1:])
    del sys.argv[1]
    return parse(method, DATA_CONFIGS[method.modality])
