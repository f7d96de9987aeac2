"""Cards that the local server takes and refuses."""

import pytest
from huggingface_hub import EvalResult, ModelCardData

from tests.support.hub_cards import findings
from tests.support.hub_client import client
from tests.support.hub_server import LocalHub


def test_a_card_of_the_library_is_accepted(hub: LocalHub) -> None:
    result = EvalResult("image-classification", "ada/texts", "Texts", "accuracy", 0.5)
    card = ModelCardData(
        language="en",
        license="other",
        license_name="own",
        license_link="LICENSE",
        model_name="m",
        eval_results=[result],
    )
    assert findings(f"---\n{card.to_yaml()}\n---\nText.\n", "model") == ([], [])


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ("license: mine", '"license" must be one of'),
        ("license: other", '"license_name" is required'),
        ("base_model: /home/ada/model", '"base_model" with value'),
        ("datasets: [../texts]", '"datasets" with value'),
        ("language: English", '"language" must hold'),
        ("tags: [1]", '"tags" must be a list of strings'),
        ("library_name: [a]", '"library_name" must be a string'),
        ("model-index: {}", '"model-index" must be an array'),
        ("model-index: [{name: m}]", '"model-index[0].results" must be an array'),
        ("model-index: [{results: [{}]}]", '"model-index[0].name" is required'),
        ("model-index: [{name: m, results: [{task: {type: t}}]}]", '"model-index[0].results[0].dataset" is required'),
        ("a: [", "the metadata are no valid YAML"),
        ("text", "the metadata must be a mapping"),
    ],
)
def test_a_card_that_says_something_wrong_is_refused(metadata: str, error: str) -> None:
    errors, _ = findings(f"---\n{metadata}\n---\n", "model")
    assert any(found.startswith(error) for found in errors), errors


def test_a_refused_card_stops_the_commit(hub: LocalHub) -> None:
    hub.create("ada/model")
    found = client(hub, 'answer(refusal(commit, {"README.md": b"---\\nlicense: mine\\n---\\n"}))')
    assert found[0] == "ValueError"
    assert '"license" must be one of' in found[1]
    assert hub.requests("commit") == []
