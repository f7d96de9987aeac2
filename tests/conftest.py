"""Offline, one thread a process, and a cache of its own for the whole session."""

import os
import tempfile

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HFSSL_CACHE": tempfile.mkdtemp(prefix="hfssl-tests-"),
}
for _name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"):
    os.environ.pop(_name, None)
