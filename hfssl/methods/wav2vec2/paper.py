"""The paper behind the method, and where ours differs, for the model cards."""

from hfssl.config.paper import Paper

PAPER = Paper(
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
)
