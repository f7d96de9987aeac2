"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="SimCLR",
    title="A Simple Framework for Contrastive Learning of Visual Representations",
    authors="Ting Chen and Simon Kornblith and Mohammad Norouzi and Geoffrey Hinton",
    year=2020,
    arxiv="2002.05709",
    differences=(
        "Views are a function of seed, epoch and sample; both go through the network in one batch.",
        "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
