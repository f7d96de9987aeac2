"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
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
)
