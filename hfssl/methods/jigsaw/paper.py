"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Jigsaw puzzles",
    title="Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
    authors="Mehdi Noroozi and Paolo Favaro",
    year=2016,
    arxiv="1603.09246",
    differences=(
        "Permutations are a subset of a group whose elements differ in 6 to 9 of 9 places, not a greedy random choice.",
        "The exported encoder sees whole images, which it was trained on in tiles only.",
        "Architecture, sizes, length and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
