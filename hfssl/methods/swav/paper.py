"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Swapped assignments between views (SwAV)",
    title="Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
    authors="Mathilde Caron and Ishan Misra and Julien Mairal and Priya Goyal and Piotr Bojanowski and Armand Joulin",
    year=2020,
    arxiv="2006.09882",
    differences=(
        "Prototypes are normalised inside the forward pass; codes are computed over all processes, crop by crop.",
        "Architecture, sizes, length, crops and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
