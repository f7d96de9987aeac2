"""What a server says to the YAML at the top of a card: errors that refuse the commit, and warnings."""

import re
from typing import Any

import yaml

LICENCE_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc intel-research lppl-1.3c ms-pl apple-ascl mpl-2.0 odc-by odbl openrail++ osl-3.0
    postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3 llama3.1 llama3.2 llama3.3
    llama4 gemma unknown other
"""
LICENSES = frozenset(LICENCE_NAMES.split())
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")
FRONT_MATTER = re.compile(r"^\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(\r?\n|$)", re.DOTALL)


def metadata_of(content: str) -> Any:
    """What stands between the two lines of dashes; None where there is nothing."""
    match = FRONT_MATTER.match(content)
    return yaml.safe_load(match.group(1)) if match else None


def findings(content: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings for the card of a `kind` (model, dataset)."""
    try:
        metadata = metadata_of(content)
    except yaml.YAMLError as error:
        return [f"the metadata are no valid YAML: {error}"], []
    if metadata is None:
        return [], ["the card has no metadata"]
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"], []
    warnings = [] if "license" in metadata else ['"license" is missing']
    errors = [*_licence(metadata), *_lists(metadata), *_repositories(metadata)]
    if kind == "model" and "model-index" in metadata:
        errors += _model_index(metadata["model-index"])
    return errors, warnings


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _licence(metadata: dict[str, Any]) -> list[str]:
    errors = [
        f'"license" must be one of {sorted(LICENSES)}, got {name!r}'
        for name in _listed(metadata.get("license", "other"))
        if name not in LICENSES
    ]
    needed = ("license_name", "license_link") if metadata.get("license") == "other" else ()
    return errors + [f'"{name}" is required where "license" is other' for name in needed if name not in metadata]


def _lists(metadata: dict[str, Any]) -> list[str]:
    errors = [
        f'"{name}" must be a list of strings'
        for name in ("tags", "datasets", "metrics")
        if not all(isinstance(item, str) for item in _listed(metadata.get(name, [])))
    ]
    errors += [f'"{name}" must be a string' for name in _no_strings(metadata)]
    return errors + [
        f'"language" must hold ISO 639 codes, got {item!r}'
        for item in _listed(metadata.get("language", []))
        if not isinstance(item, str) or not LANGUAGE.fullmatch(item)
    ]


def _no_strings(metadata: dict[str, Any]) -> list[str]:
    names = ("library_name", "pipeline_tag", "license_name", "license_link", "thumbnail")
    return [name for name in names if not isinstance(metadata.get(name, ""), str)]


def _repositories(metadata: dict[str, Any]) -> list[str]:
    """A folder of somebody's disk is no name of a repository."""
    return [
        f'"{name}" with value {item!r} is not valid: it must be the name of a repository'
        for name in ("base_model", "datasets")
        for item in _listed(metadata.get(name, []))
        if isinstance(item, str) and not REPO_ID.fullmatch(item)
    ]


def _model_index(index: Any) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for position, model in enumerate(index):
        place = f"model-index[{position}]"
        if not isinstance(model, dict):
            errors.append(f'"{place}" must be of type object')
            continue
        errors += _missing(model, place, ["name"])
        results = model.get("results")
        if not isinstance(results, list):
            errors.append(f'"{place}.results" must be an array')
            continue
        for number, result in enumerate(results):
            errors += _result(result, f"{place}.results[{number}]")
    return errors


def _result(result: Any, place: str) -> list[str]:
    if not isinstance(result, dict):
        return [f'"{place}" must be of type object']
    errors = _missing(result.get("task"), f"{place}.task", ["type"])
    errors += _missing(result.get("dataset"), f"{place}.dataset", ["type", "name"])
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        return [*errors, f'"{place}.metrics" must be an array with at least one item']
    for number, metric in enumerate(metrics):
        errors += _missing(metric, f"{place}.metrics[{number}]", ["type", "value"])
    return errors


def _missing(value: Any, place: str, names: list[str]) -> list[str]:
    if not isinstance(value, dict):
        return [f'"{place}" is required and must be of type object']
    return [f'"{place}.{name}" is required' for name in names if value.get(name) is None]
