"""A run on the Hub: its card for there, the list of what goes, and the push."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from hfssl.config.invocation import command
from hfssl.errors import require
from hfssl.hub.errors import HubError, again, explained
from hfssl.hub.files import HubFile, hub_files, is_of_card, listed, manifest
from hfssl.hub.publish_config import PublishConfig
from hfssl.hub.push import MAIN, Published, Target, look_at, push, writer_of
from hfssl.reporting.card import Card, card_of, render
from hfssl.reporting.command import PLACEHOLDERS
from hfssl.run_dir import RunDir

_WEIGHTS = "model.safetensors"
_SOMEBODY = "YOUR_NAME"


def publish_export(run_dir: RunDir, export: Path, config: PublishConfig, step: int | None = None) -> Published | None:
    """Show what goes, and send it unless it is a dry run; then None. The run folder is not touched.

    Args:
        export: the model to publish, that of the run or another of its checkpoints; step: that of its weights, where the run
            is not finished.

    Raises:
        ConfigError: it is not fit to be published. HubError: it did not get there.
    """
    name = str(config.hub_model_id)
    card = card_of(run_dir, export, step)
    _check_card(run_dir, export, card, config)
    if config.dry_run:
        target = Target(name if "/" in name else f"{_SOMEBODY}/{name}", config.revision or MAIN, None)
        card = _addressed(card, target, config)
        _show(run_dir, card, _files(run_dir, card, export, target, config), config)
        print(f"\n{render(card)}\nnothing was sent: leave out --dry_run to publish")
        return None
    api, repo_id = writer_of(name)
    require(
        config.base_model != repo_id, f"--base_model {repo_id} is the repository itself: name that of the checkpoint"
    )
    target = look_at(api, repo_id, config.revision or MAIN, recipe=card.recipe, private=config.private)
    require(
        not config.card_only or any(name.endswith(".safetensors") for name in target.names),
        f"--card_only mends the card of a model, and {repo_id} holds none: publish the model first",
    )
    _check_base(api, run_dir, config)
    card = _addressed(card, target, config)
    files = _files(run_dir, card, export, target, config)
    _show(run_dir, card, files, config)
    message = f"card of {card.recipe}" if config.card_only else f"{card.recipe}, {card.steps} steps"
    done = push(
        api, target, files, recipe=card.recipe, message=message, private=config.private, create_pr=config.create_pr
    )
    print(f"published   {done.url}" if done.changed else f"unchanged   {done.url} holds all of it already")
    return done


def check_can_push(recipe: str, hub_model_id: str, *, private: bool) -> None:
    """Raises HubError where a run of `recipe` could not be published there."""
    api, repo_id = writer_of(hub_model_id)
    look_at(api, repo_id, MAIN, recipe=recipe, private=private)


def _check_card(run_dir: RunDir, export: Path, card: Card, config: PublishConfig) -> None:
    """Raises ConfigError where the options do not fit the run, or there is nothing to publish."""
    started_here = card.is_continuation and card.base_model is None
    require(
        config.base_model is None or started_here,
        f"--base_model has no effect: {run_dir.path} started from {card.base_model or 'no checkpoint'}; leave it out",
    )
    require(
        config.data_name is None or card.is_of_local_data,
        f"--data_name has no effect: the card names {card.data}; leave it out",
    )
    require(
        config.card_only or (card.export is not None and card.export.num_parameters > 0),
        f"{export} holds no model: export it again with {command('export', '--run', str(run_dir.path))}",
    )
    is_lonely = card.export is not None and card.export.base is not None and not (card.base_model or config.base_model)
    require(
        config.card_only or not is_lonely,
        f"{export} is an adapter of a checkpoint that is on this machine only, and useless without it: publish the whole model "
        "with --merge, or that checkpoint first, and name it here with --base_model",
    )


def _addressed(card: Card, target: Target, config: PublishConfig) -> Card:
    """The card for that repository; license and languages that nobody names stay what they are there."""
    there = target.card if config.license is None else {}
    languages = target.card.get("language") or []
    return dataclasses.replace(
        card,
        data=config.data_name or card.data,
        name=target.repo_id.rpartition("/")[2],
        load_from=target.repo_id,
        base_model=config.base_model or card.base_model,
        command=card.command.replace(PLACEHOLDERS["init_from"], config.base_model or PLACEHOLDERS["init_from"]),
        license=config.license or there.get("license"),
        license_name=config.license_name or there.get("license_name"),
        license_link=config.license_link or there.get("license_link"),
        languages=config.language or tuple([languages] if isinstance(languages, str) else languages),
    )


def _files(run_dir: RunDir, card: Card, export: Path, target: Target, config: PublishConfig) -> list[HubFile]:
    files = hub_files(run_dir, card, None if config.card_only else export)
    kept = [name for name in target.ours if config.card_only and not is_of_card(name)]
    return [*files, manifest([*kept, *(file.name for file in files)])]


def _show(run_dir: RunDir, card: Card, files: Sequence[HubFile], config: PublishConfig) -> None:
    where = f", branch {config.revision}" if config.revision else ", a pull request" if config.create_pr else ""
    private = " (private)" if config.private else ""
    print(f"{run_dir.path} to {constants.ENDPOINT}/{card.load_from}{private}{where}")
    for line in listed(files):
        print(line)


def _check_base(api: HfApi, run_dir: RunDir, config: PublishConfig) -> None:
    """Raises HubError where --base_model holds other weights than those that the run started from."""
    if config.base_model is None:
        return
    start = Path(str(run_dir.read_config()["loop"]["init_from"])).expanduser()
    weights = next((path for path in (start / _WEIGHTS, RunDir(start).export / _WEIGHTS) if path.is_file()), None)
    with explained(config.base_model):
        try:
            found = again(lambda: api.get_paths_info(str(config.base_model), [_WEIGHTS]))
        except (RepositoryNotFoundError, EntryNotFoundError) as error:
            raise HubError(f"--base_model {config.base_model} is not on the Hub: publish it first") from error
    theirs = next((entry.lfs.sha256 for entry in found if isinstance(entry, RepoFile) and entry.lfs), None)
    if weights is None or theirs is None:
        print(f"            whether {config.base_model} is what this run started from could not be compared")
        return
    with weights.open("rb") as file:
        ours = hashlib.file_digest(file, "sha256").hexdigest()
    if ours != theirs:
        raise HubError(
            f"--base_model {config.base_model} holds other weights than the checkpoint that this run started from"
        )
