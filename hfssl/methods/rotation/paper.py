"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Rotation prediction",
    title="Unsupervised Representation Learning by Predicting Image Rotations",
    authors="Spyros Gidaris and Praveer Singh and Nikos Komodakis",
    year=2018,
    arxiv="1803.07728",
    differences=(
        "The classifier of the four rotations is one linear layer on the pooled features that are exported.",
        "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
