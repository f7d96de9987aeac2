"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
    method="Masked autoencoder",
    title="Masked Autoencoders Are Scalable Vision Learners",
    authors="Kaiming He and Xinlei Chen and Saining Xie and Yanghao Li and Piotr Dollár and Ross Girshick",
    year=2022,
    arxiv="2111.06377",
    differences=(
        "Masks are a function of seed, epoch and sample, not of a generator's state: the same on any number of processes.",
        "Query, key and value weights start larger by sqrt(2): as three matrices, not as the published code's joint one.",
        "The exported encoder is a ViTModel that sees every patch; pooling is the mean over patches.",
        "Sizes, length and augmentation are those under Hyperparameters, not the paper's.",
    ),
)
