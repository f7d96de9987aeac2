"""demo:pydocs: the English reference prose that every CPython ships: about 2,200 documents of 260,000 words in all.

What it holds: the sections of `pydoc_data.topics` (the language reference that `help()` shows) and the docstrings of
standard-library modules, classes and functions; a class is one document with its methods. Sources are parsed, not
imported, but for a few modules written in C that have none. Examples at the prompt, call signatures and markup are taken
out; a paragraph that stood before is dropped. Contents differ a little between Python versions, splits do not overlap.

Copyright Python Software Foundation; PSF License Version 2 (https://docs.python.org/3/license.html).
"""

import ast
import hashlib
import importlib
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.randomness import stream_id
from hfssl.run_dir import write_text

FORMAT = 1  # of the extraction: a new number leaves old caches alone
TEST_SHARE = 0.1
FEWEST_CHARACTERS = 80
LANGUAGE_REFERENCE = "language reference"
AREAS = {
    "data types": """_collections_abc _weakrefset abc bisect collections contextlib copy copyreg dataclasses enum functools
        graphlib heapq operator pprint reprlib types typing weakref""",
    "text": """codecs difflib encodings fnmatch gettext html locale re shlex string stringprep textwrap""",
    "numbers and dates": """_pydecimal _pydatetime _strptime calendar colorsys datetime fractions hashlib hmac numbers
        random secrets statistics zoneinfo""",
    "files": """_compression _pyio bz2 filecmp fileinput genericpath getpass glob gzip io lzma ntpath os pathlib
        posixpath shutil stat tarfile tempfile zipfile zipimport""",
    "data formats": """aifc base64 configparser csv dbm json pickle pickletools plistlib quopri shelve sqlite3 struct
        sunau tomllib wave xdrlib xml""",
    "networking": """cgi ftplib http imaplib ipaddress nntplib poplib smtpd smtplib socket socketserver ssl telnetlib
        urllib uuid webbrowser wsgiref xmlrpc""",
    "email": "email mailbox mailcap mimetypes",
    "concurrency": """_threading_local asynchat asyncio asyncore concurrent multiprocessing queue sched selectors signal
        subprocess threading""",
    "testing": "bdb cProfile doctest pdb profile pstats timeit trace traceback tracemalloc unittest warnings",
    "tools": """ast code codeop compileall ctypes dis distutils importlib inspect linecache modulefinder pkgutil platform
        py_compile pyclbr pydoc rlcompleter runpy site symtable sysconfig tabnanny tokenize venv zipapp""",
    "applications": "argparse cmd curses getopt logging optparse turtle",
}
WRITTEN_IN_C = {
    "data types": "builtins itertools",
    "numbers and dates": "math time",
    "concurrency": "_thread",
    "tools": "gc",
}

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCTEST = re.compile(r"^ *>>>.*(?:\n(?! *$).*)*", re.MULTILINE)
_RULE = re.compile(r"^[ *=~^+|-]+$", re.MULTILINE)
_ROLE = re.compile(r":[a-z:]+:`[~!]?([^`<]+?)(?: *<[^>]*>)?`")
_SIGNATURES = re.compile(r"(?:[\w.]+\(.*\)(?: *-> *.*)?(?:\n|$))+")
_HEADING = re.compile(r"^(?=\S.*\n([*=~-])\1{3,} *$)", re.MULTILINE)
_WRAPPED = 50  # characters: shorter lines were broken on purpose
_FILE = "documents.json"

Document = tuple[str, str, str]
"""Name, area and text."""


def pydocs() -> DatasetDict:
    """Columns text and label, the area that is described; about a tenth of the documents are the test split."""
    rows = documents()
    areas = [LANGUAGE_REFERENCE, *AREAS]
    features = Features({"text": Value("string"), "label": ClassLabel(names=areas)})
    splits = {}
    for split in ("train", "test"):
        chosen = [row for row in rows if in_test_split(row[0]) == (split == "test")]
        columns = {
            "text": [text for _, _, text in chosen],
            "label": [areas.index(area) for _, area, _ in chosen],
        }
        splits[split] = Dataset.from_dict(columns, features=features)
        digest = hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]
        splits[split]._fingerprint = f"demo-pydocs-{digest}"  # the same in every process: it names the cache
    return DatasetDict(splits)


def documents() -> list[Document]:
    """The documents of this very installation, in a fixed order; parsed once, since that takes seconds."""
    library = sysconfig.get_paths()["stdlib"]
    digest = hashlib.sha256(f"{library} {sys.version}".encode()).hexdigest()[:16]
    folder = made_once(cache_root("demo") / f"pydocs-{digest}-v{FORMAT}", is_sealed, _write_documents)
    return [tuple(row) for row in json.loads((folder / _FILE).read_text(encoding="utf-8"))]


def _write_documents(folder: Path) -> None:
    write_text(folder / _FILE, json.dumps(_extracted()))
    seal(folder)


def _extracted() -> list[Document]:
    """A paragraph that stood in an earlier document is left out."""
    found = [*_topics(), *_standard_library()]
    seen: set[str] = set()
    kept: dict[str, Document] = {}
    for name, area, text in found:
        text = _without_repetitions(text, seen)
        if len(text) >= FEWEST_CHARACTERS:
            name = name if name not in kept else f"{name} ({len(kept)})"
            kept[name] = (name, area, text)
    return list(kept.values())


def in_test_split(name: str) -> bool:
    """A document's split follows from its name only, so that it is the same in every version of Python."""
    return stream_id(name) % 1000 < 1000 * TEST_SHARE


def clean(text: str) -> str:
    """A docstring as prose: dedented, without signature, doctests and markup; wrapped lines joined."""
    text = inspect.cleandoc(text)
    signatures = _SIGNATURES.match(text)
    text = text[signatures.end() :] if signatures else text
    text = _RULE.sub("", _DOCTEST.sub("", text))
    text = _ROLE.sub(r"\1", text).replace("``", "").replace("`", "'")
    paragraphs = [_unwrapped(paragraph) for paragraph in re.split(r"\n(?:[ \t]*\n)+", text)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph.strip())


def _unwrapped(paragraph: str) -> str:
    lines = [line.rstrip() for line in paragraph.strip("\n").split("\n")]
    wrapped = all(len(line) > _WRAPPED for line in lines[:-1]) and not any(line.startswith(" ") for line in lines)
    return (" " if wrapped else "\n").join(lines)


def _without_repetitions(text: str, seen: set[str]) -> str:
    kept = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if len(words) < FEWEST_CHARACTERS or words not in seen:
            kept.append(paragraph)
        seen.add(words)
    return "\n\n".join(kept)


def _topics() -> Iterator[Document]:
    """The language reference, a document a section."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for topic, text in sorted(topics.items()):
        starts = [0, *(match.start() for match in _HEADING.finditer(text) if match.start()), len(text)]
        for start, end in pairwise(starts):
            section = text[start:end]
            title = section.partition("\n")[0].strip()
            yield f"help {topic}: {title}", LANGUAGE_REFERENCE, clean(section)


def _standard_library() -> Iterator[Document]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for area, names in AREAS.items():
        for name in names.split():
            for module, file in _sources(root, name):
                yield from ((title, area, text) for title, text in _docstrings(module, ast.parse(file.read_bytes())))
    for area, names in WRITTEN_IN_C.items():
        for name in names.split():
            yield from ((title, area, text) for title, text in _docstrings_of_c(importlib.import_module(name)))


def _sources(root: Path, name: str) -> list[tuple[str, Path]]:
    """(module, file) of a module, or of all modules of a package less its tests; none where this Python has neither."""
    if (root / f"{name}.py").is_file():
        return [(name, root / f"{name}.py")]
    files = sorted(path.relative_to(root) for path in (root / name).rglob("*.py"))
    files = [file for file in files if not {"test", "tests"} & set(file.parts)]
    return [(".".join(file.with_suffix("").parts).removesuffix(".__init__"), root / file) for file in files]


def _docstrings(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    yield module, clean(ast.get_docstring(tree, clean=False) or "")
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, *_FUNCTIONS)):
            members = node.body if isinstance(node, ast.ClassDef) else []
            functions = [member for member in members if isinstance(member, _FUNCTIONS)]
            methods = {function.name: ast.get_docstring(function, clean=False) for function in functions}
            yield f"{module}.{node.name}", _with_methods(ast.get_docstring(node, clean=False), methods)


def _docstrings_of_c(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Of what the module itself defines, whatever a session added to builtins."""
    name = module.__name__
    yield name, clean(module.__doc__ or "")
    for member, value in sorted(vars(module).items()):
        if (isinstance(value, type) or inspect.isbuiltin(value)) and value.__module__ == name:
            public = vars(value).items() if isinstance(value, type) else []
            methods = {key: method.__doc__ for key, method in public if not key.startswith("_")}
            yield f"{name}.{member}", _with_methods(value.__doc__, methods)


def _with_methods(docstring: str | None, methods: Mapping[str, str | None]) -> str:
    texts = [clean(docstring or "")]
    texts += [f"{name}: {clean(text)}" for name, text in methods.items() if text and clean(text)]
    return "\n\n".join(text for text in texts if text)
