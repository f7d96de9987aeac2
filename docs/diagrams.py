"""Diagrams: a Mermaid block is shown as the SVG file that was drawn from it, so that a page of the site loads no script.

Draw it again with Mermaid's own tool: `npx @mermaid-js/mermaid-cli -b white -i docs/architecture.md -o docs/architecture.svg`.
"""

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LABEL = re.compile(r'\["([^"]+)"\]|\|"?([^|"]+)"?\|')
_TAG = re.compile(r"<[^>]+>")


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Put the drawn file in place of the page's block; raises PluginError where the file is not of this block."""
    from mkdocs.exceptions import PluginError

    block = _BLOCK.search(markdown)
    if block is None:
        return markdown
    drawn = Path(config.docs_dir) / page.file.src_uri
    file = drawn.with_name(f"{drawn.stem}-1.svg")
    missing = missing_labels(markdown, file.read_text(encoding="utf-8"))
    if missing:
        raise PluginError(f"{file.name} was drawn from another block: it lacks {missing[0]!r}; see docs/diagrams.py")
    return markdown.replace(block[0], f"![diagram]({file.name})")


def missing_labels(markdown: str, svg: str) -> list[str]:
    """Labels of the page's block that the SVG does not show."""
    block = _BLOCK.search(markdown)
    if block is None:
        return []
    shown = _words(html.unescape(_TAG.sub(" ", svg)))
    labels = [" ".join(filter(None, groups)) for groups in _LABEL.findall(block[1])]
    return [label for label in labels if _words(_TAG.sub(" ", label)) not in shown]


def _words(text: str) -> str:
    """Without blanks: a drawn label may be broken anywhere."""
    return re.sub(r"\s+", "", text)
