"""What each method comes from, and where ours differs: for the cards of the models that it trained."""

from typing import NamedTuple


class Paper(NamedTuple):
    """method: its name in words; differences: where our method is not the paper's, in sentences."""

    method: str
    title: str
    authors: str
    year: int
    arxiv: str
    differences: tuple[str, ...]


PAPERS = {
    "mlm": Paper(
        method="Masked language model",
        title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        authors="Jacob Devlin and Ming-Wei Chang and Kenton Lee and Kristina Toutanova",
        year=2018,
        arxiv="1810.04805",
        differences=(
            "There is no next-sentence task.",
            "Documents are packed into rows and never see each other; the head works at the chosen tokens alone.",
            "Masks are a function of seed, epoch and row, new in every epoch; their number in a row is fixed.",
            "Sizes, length and data are those under Hyperparameters, not the paper's.",
        ),
    ),
    "clm": Paper(
        method="Causal language model",
        title="Language Models are Few-Shot Learners",
        authors="Tom B. Brown and Benjamin Mann and Nick Ryder and others",
        year=2020,
        arxiv="2005.14165",
        differences=(
            "Documents are packed into rows and never see each other; positions restart with each.",
            "Sizes, length and data are those under Hyperparameters, not the paper's.",
        ),
    ),
    "mae": Paper(
        method="Masked autoencoder",
        title="Masked Autoencoders Are Scalable Vision Learners",
        authors="Kaiming He and Xinlei Chen and Saining Xie and Yanghao Li and Piotr Dollár and Ross Girshick",
        year=2022,
        arxiv="2111.06377",
        differences=(
            "Masks are a function of seed, epoch and sample, not of a generator's state: the same on any number of processes.",
            "The exported encoder is a ViTModel that sees every patch; pooling is the mean over patches.",
            "Sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
}
