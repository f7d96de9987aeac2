"""How well the task that a run was trained on is solved at its end."""

from collections.abc import Iterator

import torch

from hfssl.objective import Batch, Examples
from hfssl.run_dir import Json
from hfssl.training.loop import Session


@torch.no_grad()
def pretext_accuracy(session: Session, examples: Examples, samples: str, *, is_held_out: bool, batch_size: int) -> Json:
    """Under `pretext`, the share of right answers on whole `examples` and on parts of the task; empty for methods without
    right answers. `samples` is what the examples are called."""
    correct: dict[str, list[torch.Tensor]] = {}
    chances = []
    for batch in _batches(session, examples, batch_size):
        solved = session.objective.pretext(batch)
        if solved is None:
            return {}
        chances.append(solved.chance)
        for part, correct_B in solved.correct.items():
            correct.setdefault(part, []).append(correct_B.cpu())
    parts = {part: float(torch.cat(blocks).mean()) for part, blocks in correct.items()}
    figures = {"chance": sum(chances) / len(chances), "accuracy": sum(parts.values()) / len(parts), "parts": parts}
    return {"pretext": {"rows": len(examples), "samples": samples, "held_out": is_held_out} | figures}


def _batches(session: Session, examples: Examples, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(examples), batch_size):
        rows = range(start, min(start + batch_size, len(examples)))
        batch = session.rows.pipeline.eval_transform([examples[row] for row in rows], start)
        yield {name: tensor.to(session.accelerator.device) for name, tensor in batch.items()}
