"""What a run draws and costs: estimates, and what they rest on."""

import shutil
import subprocess
from typing import NamedTuple

import torch

WATTS_A_CORE = 10.0


class Power(NamedTuple):
    """watts: of all devices in use together; basis: where the number comes from."""

    watts: float
    basis: str

    def kilowatt_hours(self, seconds: float) -> float:
        return self.watts * seconds / 3.6e6


def power_of(device: torch.device, num_processes: int) -> Power:
    """GPUs at their board's power limit; CPUs at WATTS_A_CORE for each thread in use, a rule of thumb for servers.

    An upper estimate for GPUs, and without the rest of the machine, its cooling and its network for both.
    """
    if device.type != "cuda":
        threads = torch.get_num_threads() * num_processes
        return Power(WATTS_A_CORE * threads, f"{threads} CPU threads at {WATTS_A_CORE:.0f} W each, a rule of thumb")
    limit = _power_limit(device.index or 0)
    if limit is None:
        return Power(0.0, "the GPU's power limit cannot be read")
    return Power(limit * num_processes, f"{num_processes} GPU(s) at their limit of {limit:.0f} W")


def _power_limit(index: int) -> float | None:
    """Watts, as the driver's own tool says."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, f"--id={index}", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def estimate_lines(power: Power, seconds: float, price_per_hour: float | None) -> list[str]:
    """Energy and, where a price is known, cost of `seconds` on this machine."""
    known = power.watts > 0
    shown = f"{power.kilowatt_hours(seconds):.2g} kWh ({power.basis})" if known else f"unknown ({power.basis})"
    lines = [f"energy      about {shown}"]
    if price_per_hour is not None:
        lines.append(f"cost        {seconds / 3600 * price_per_hour:.2f} at {price_per_hour:g} per hour")
    return lines
