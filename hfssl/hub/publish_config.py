"""What `hfssl publish` can be told."""

import re
from dataclasses import dataclass
from pathlib import Path

from hfssl.config.fields import option
from hfssl.config.repository_name import check_repository
from hfssl.errors import require

_BRANCH = re.compile(r"(?!refs/)\w[\w.-]*(/\w[\w.-]*)*")
_DATA_NAME = re.compile(r"\w[\w ,.()'-]{0,99}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual|code")
_LICENSES = Path(__file__).parent / "licenses.txt"  # identifiers that model cards of the Hub take


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    run: str | None = option(None, "run folder")
    hub_model_id: str | None = option(None, "repository to publish to: NAME or USER/NAME")
    private: bool = option(False, "make a new repository private")
    create_pr: bool = option(False, "open a pull request instead of committing")
    revision: str | None = option(None, "branch to commit to, made where there is none (default: main)")
    dry_run: bool = option(False, "show what would be published, card included, without network")
    license: str | None = option(None, "license of the model, as the Hub writes it, like apache-2.0")
    license_name: str | None = option(None, "with --license other: its name")
    license_link: str | None = option(None, "with --license other: where it stands")
    language: tuple[str, ...] | None = option(None, "languages of the data, like en de")
    data_name: str | None = option(
        None, "what the card calls data that is not on the Hub, like 'street scenes of 2024'"
    )
    base_model: str | None = option(
        None, "Hub id under which the local checkpoint that the run started from is published"
    )
    merge: bool = option(False, "of an adapter, the whole model with the adapter added to its weights")
    card_only: bool = option(False, "card, figures and scores without the model")
    allow_unfinished: bool = option(False, "publish a run that still trains or was killed; the card says so")

    def __post_init__(self) -> None:
        require(self.run is not None, "name the run folder with --run")
        require(self.hub_model_id is not None, "name the repository with --hub_model_id")
        check_repository("hub_model_id", self.hub_model_id)
        check_repository("base_model", self.base_model)
        self._check_license()
        wrong = [language for language in self.language or () if not _LANGUAGE.fullmatch(language)]
        require(not wrong, f"language must be ISO 639 codes like en or de, multilingual or code, got {' '.join(wrong)}")
        require(
            not (self.create_pr and self.revision),
            "create_pr and revision exclude each other: a pull request is for main",
        )
        require(
            self.revision is None or (bool(_BRANCH.fullmatch(self.revision)) and ".." not in self.revision),
            f"revision must be the name of a branch, got {self.revision!r}",
        )
        require(
            self.data_name is None or bool(_DATA_NAME.fullmatch(self.data_name)),
            f"data_name must be up to 100 letters, digits, spaces and , . ( ) - ', got {self.data_name!r}",
        )
        require(not (self.merge and self.card_only), "merge has no effect with card_only: leave one of them out")

    def _check_license(self) -> None:
        license = self.license
        require(
            license is None or license in _LICENSES.read_text(encoding="utf-8").split(),
            f"license {license!r} is not known to the Hub: name one like apache-2.0, mit, cc-by-4.0, or other with "
            "--license_name and --license_link",
        )
        of_other = (self.license_name, self.license_link)
        if license == "other":
            require(None not in of_other, "license other needs --license_name and --license_link")
        else:
            require(of_other == (None, None), "license_name and license_link have no effect without --license other")
        link = self.license_link
        is_link = link is None or link == "LICENSE" or bool(re.fullmatch(r"https?://\S+", link))
        require(is_link, f"license_link must be an address or LICENSE, got {link!r}")
