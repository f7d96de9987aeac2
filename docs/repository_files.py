"""Links of pages to files of the repository outside docs/: the files are built into the site, the links point there.

A number thus stays one click from the file that holds it. Needs no MkDocs for reading links.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_DOCS, _OUTSIDE = "docs/", "repository/"  # in the repository; in the site, of what stands outside docs/
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LIST_START = re.compile(
    r"^(?![-*#|\s]|\d+\. )(.+)\n(?=(?:[-*]|\d+\.) )", re.MULTILINE
)  # the site's Markdown wants a blank line
_FIRST = ("CONTRIBUTING.md", "model_cards/README.md")  # in the navigation, whether or not a page links to them


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add every file outside docs/ that a page, or a page so added, links to."""
    from mkdocs.structure.files import File

    waiting = list(_FIRST)
    for file in files.documentation_pages():
        waiting += outside(file.content_string, _place(file.src_uri))
    added = set[str]()
    while waiting:
        path = waiting.pop()
        if path in added or not (ROOT / path).is_file():  # MkDocs names the link
            continue
        added.add(path)
        files.append(File.generated(config, _OUTSIDE + path, abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            waiting += outside((ROOT / path).read_text(encoding="utf-8"), path)
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Let links lead to the places of files in the site."""
    here = page.file.src_uri

    def replaced(match: re.Match[str]) -> str:
        target = _site_path(_joined(_place(here), match[2]))
        return match[1] + posixpath.relpath(target, posixpath.dirname(here) or ".") + match[3]

    return _outside_fences(markdown, lambda text: _LIST_START.sub(r"\1\n\n", _LINK.sub(replaced, text)))


def links(markdown: str) -> Iterator[str]:
    """The relative links and images of a page, without anchors."""
    for match in _LINK.finditer(_FENCE.sub("", markdown)):
        yield match[2]


def outside(markdown: str, place: str) -> list[str]:
    """Paths in the repository, outside docs/, that the page at `place` links to."""
    linked = [_joined(place, link) for link in links(markdown)]
    return [path for path in linked if not path.startswith((_DOCS, ".."))]


def _joined(place: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _place(src_uri: str) -> str:
    """Path in the repository of a page of the site."""
    return src_uri.removeprefix(_OUTSIDE) if src_uri.startswith(_OUTSIDE) else _DOCS + src_uri


def _site_path(place: str) -> str:
    return place.removeprefix(_DOCS) if place.startswith(_DOCS) else _OUTSIDE + place


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = list[str](), 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
