"""What a method comes from: each method's folder names its paper in `paper.py`, for the cards of the models that it trained."""

from typing import NamedTuple


class Paper(NamedTuple):
    """method: its name in words; differences: where our method is not the paper's, in sentences."""

    method: str
    title: str
    authors: str
    year: int
    arxiv: str
    differences: tuple[str, ...]


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
