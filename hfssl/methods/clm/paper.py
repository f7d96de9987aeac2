"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Causal language model",
    title="Language Models are Few-Shot Learners",
    authors="Tom B. Brown and Benjamin Mann and Nick Ryder and others",
    year=2020,
    arxiv="2005.14165",
    differences=(
        "Documents are packed into rows and never see each other; positions restart with each.",
        "Sizes, length and data are those under Hyperparameters, not the paper's.",
    ),
)
