"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Bootstrap your own latent (BYOL)",
    title="Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
    authors="Jean-Bastien Grill and Florian Strub and Florent Altché and others",
    year=2020,
    arxiv="2006.07733",
    differences=(
        "Both views go through a network in one batch, also past its BatchNorms.",
        "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
