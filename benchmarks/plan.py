"""Does a plan keep its word? The planned training time beside that of the run itself.

    python benchmarks/plan.py --rounds 3

Each round plans the MAE demo at two sizes with `recipes/plan.py`, then trains it: from the line that names the run folder
to the first line after the last step. Writes benchmarks/results/plan.json with command, versions and hardware.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
SIZES = {
    "demo": ["--max_steps", "500"],
    "wider": ["--max_steps", "150", "--hidden_size", "192", "--num_hidden_layers", "6", "--image_size", "32"],
}
PLAN = """
import json
import sys
from hfssl.commands.plan import plan
from hfssl.commands.command import Plan

print(json.dumps(plan(Plan().read(sys.argv[1:]))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    runs = [
        {"size": name, **planned_and_taken(flags)} for _ in range(arguments.rounds) for name, flags in SIZES.items()
    ]
    result = {
        "command": f"python {shlex.join(['benchmarks/plan.py', *sys.argv[1:]])}",
        "versions": versions(),
        "cpu": cpu_name(),
        "largest_error": max(abs(run["planned_over_taken"] - 1) for run in runs),
        "runs": runs,
    }
    (RESULTS / "plan.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for run in runs:
        print(run)


def planned_and_taken(flags: list[str]) -> dict[str, Any]:
    planned = subprocess.run([sys.executable, "-c", PLAN, "mae", *flags], check=True, capture_output=True, text=True)
    seconds = json.loads(planned.stdout.splitlines()[-1])["seconds"]
    taken = seconds_of_training(flags)
    return {"planned_seconds": seconds, "taken_seconds": taken, "planned_over_taken": seconds / taken}


def seconds_of_training(flags: list[str]) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, str(ROOT / "recipes" / "mae.py"), *flags, "--output_dir", f"{scratch}/run"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        begun = finished = 0.0
        for line in process.stdout:
            if line.startswith("run folder"):
                begun = time.perf_counter()
            if line.startswith("evaluating"):
                finished = time.perf_counter()
        assert process.wait() == 0
    return finished - begun


if __name__ == "__main__":
    main()
