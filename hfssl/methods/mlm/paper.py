"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Masked language model",
    title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    authors="Jacob Devlin and Ming-Wei Chang and Kenton Lee and Kristina Toutanova",
    year=2018,
    arxiv="1810.04805",
    differences=(
        "There is no next-sentence task.",
        "Documents are packed into rows and never see each other; the head works at the chosen tokens only.",
        "Masks are a function of seed, epoch and row, new in every epoch; their number in a row is fixed.",
        "Sizes, length and data are those under Hyperparameters, not the paper's.",
    ),
)
