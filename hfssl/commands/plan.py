"""How long a run would take, how much memory, at what cost: from real steps on a copy that leaves nothing behind."""

import tempfile
from pathlib import Path

from hfssl.catalog import method
from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.distributed import is_main_process
from hfssl.run_dir import Json, RunDir
from hfssl.runs.context import RunContext
from hfssl.runs.init_from import adopt_checkpoint
from hfssl.runs.planning import measured_copy, opening_lines, settled
from hfssl.training.accelerator import start
from hfssl.training.energy import estimate_lines, power_of
from hfssl.training.report import duration, size
from hfssl.training.start import Start


def plan(run: RunConfig) -> Json:
    """Measure, print and return the figures: seconds, steps, samples, peak bytes per process, kilowatt hours.

    Raises:
        ConfigError: the run cannot work as configured.
    """
    accelerator = start(run.loop)
    quieten_libraries()
    _, objective_class = method(run.recipe)
    context = RunContext(objective_class, *adopt_checkpoint(run), accelerator)
    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        nowhere = Start(RunDir(Path(scratch)), None, [])
        context = settled(context, nowhere)
    measured, session = measured_copy(context)
    run = context.run
    steps, batch = session.max_steps, run.loop.global_batch_size
    seconds = measured.training_seconds(steps, run.loop.evaluate_every)
    power = power_of(accelerator.device, accelerator.num_processes)
    if is_main_process():
        for line in opening_lines(session):
            print(line)
        a_step = f"{measured.seconds_a_step * 1000:.0f} ms, {batch / measured.seconds_a_step:.0f} samples/s"
        print(f"a step      {a_step}, data wait {measured.data_wait:.1%}; measured over {measured.num_steps} steps")
        looks = f", validations of {measured.validation_seconds:.1f} s included" if session.monitor else ""
        print(f"time        {duration(seconds)} of training{looks}")
        whose = "of the process, libraries included" if accelerator.device.type == "cpu" else "of each GPU"
        print(f"memory      {size(measured.peak_bytes)} at the peak, {whose}")
        print("\n".join(estimate_lines(power, seconds, run.loop.price_per_hour)), flush=True)
    accelerator.end_training()
    return {
        "steps": steps,
        "samples": steps * batch,
        "seconds": seconds,
        "peak_bytes": measured.peak_bytes,
        "kilowatt_hours": power.kilowatt_hours(seconds),
    }
