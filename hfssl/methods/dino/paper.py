"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Self-distillation with no labels (DINO)",
    title="Emerging Properties in Self-Supervised Vision Transformers",
    authors="Mathilde Caron and Hugo Touvron and Ishan Misra and Hervé Jégou and Julien Mairal and Piotr Bojanowski and "
    "Armand Joulin",
    year=2021,
    arxiv="2104.14294",
    differences=(
        "The centre moves once per step, over all processes and micro-batches, where the step was applied.",
        "Gradients are clipped by their joint norm; there is no drop-path unless the architecture's config has it.",
        "Architecture, sizes, length, crops and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
