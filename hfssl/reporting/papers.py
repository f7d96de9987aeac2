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
    "simclr": Paper(
        method="SimCLR",
        title="A Simple Framework for Contrastive Learning of Visual Representations",
        authors="Ting Chen and Simon Kornblith and Mohammad Norouzi and Geoffrey Hinton",
        year=2020,
        arxiv="2002.05709",
        differences=(
            "Views are a function of seed, epoch and sample; both go through the network in one batch.",
            "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "moco": Paper(
        method="Momentum contrast (MoCo v2)",
        title="Momentum Contrast for Unsupervised Visual Representation Learning",
        authors="Kaiming He and Haoqi Fan and Yuxin Wu and Saining Xie and Ross Girshick",
        year=2020,
        arxiv="1911.05722",
        differences=(
            "Keys enter the queue, and the key encoder follows, at the end of an applied step.",
            "BatchNorms, where the backbone has any, work on keyed shuffles and splits of the batch, also on one device.",
            "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "byol": Paper(
        method="Bootstrap your own latent (BYOL)",
        title="Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
        authors="Jean-Bastien Grill and Florian Strub and Florent Altché and others",
        year=2020,
        arxiv="2006.07733",
        differences=(
            "Both views go through a network in one batch, also past its BatchNorms.",
            "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "swav": Paper(
        method="Swapped assignments between views (SwAV)",
        title="Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
        authors="Mathilde Caron and Ishan Misra and Julien Mairal and Priya Goyal and Piotr Bojanowski and Armand Joulin",
        year=2020,
        arxiv="2006.09882",
        differences=(
            "Prototypes are normalised inside the forward pass; codes are computed over all processes, crop by crop.",
            "Architecture, sizes, length, crops and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "dino": Paper(
        method="Self-distillation with no labels (DINO)",
        title="Emerging Properties in Self-Supervised Vision Transformers",
        authors="Mathilde Caron and Hugo Touvron and Ishan Misra and Hervé Jégou and Julien Mairal and Piotr Bojanowski and "
        "Armand Joulin",
        year=2021,
        arxiv="2104.14294",
        differences=(
            "The centre moves once a step, over all processes and micro-batches, where the step was applied.",
            "Gradients are clipped by their joint norm; there is no drop-path unless the architecture's config has it.",
            "Architecture, sizes, length, crops and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "rotation": Paper(
        method="Rotation prediction",
        title="Unsupervised Representation Learning by Predicting Image Rotations",
        authors="Spyros Gidaris and Praveer Singh and Nikos Komodakis",
        year=2018,
        arxiv="1803.07728",
        differences=(
            "The classifier of the four rotations is one linear layer on the pooled features that are exported.",
            "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "jigsaw": Paper(
        method="Jigsaw puzzles",
        title="Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
        authors="Mehdi Noroozi and Paolo Favaro",
        year=2016,
        arxiv="1603.09246",
        differences=(
            "Permutations are a subset of a group whose elements differ in 6 to 9 of 9 places, not a greedy random choice.",
            "The exported encoder sees whole images, which it was trained on in tiles alone.",
            "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
        ),
    ),
    "wav2vec2": Paper(
        method="wav2vec 2.0",
        title="wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
        authors="Alexei Baevski and Henry Zhou and Abdelrahman Mohamed and Michael Auli",
        year=2020,
        arxiv="2006.11477",
        differences=(
            "Spans lie inside an utterance's own frames and are keyed, as are distractors and Gumbel noise.",
            "No layer is dropped; the schedule of the learning rate ends in half a cosine.",
            "The penalty on the convolutions' output is each utterance's mean, weighted by its masked frames.",
            "Architecture, sizes, length and data are those under Hyperparameters, not the paper's.",
        ),
    ),
}


def citation(recipe: str, paper: Paper) -> str:
    """A paper in BibTeX."""
    fields = {
        "title": paper.title,
        "author": paper.authors,
        "year": paper.year,
        "eprint": paper.arxiv,
        "archivePrefix": "arXiv",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{recipe}{paper.year},", *lines, "}"])
