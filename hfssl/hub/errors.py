"""What the Hub's client raises, in a line: what happened, what the repository holds now, and what to do."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from hfssl.errors import ConfigError, one_line

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt
HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]  # of the client's HTTP library: no answer at all, too
_OWN_FAILURES = 500  # of a server, and above
_PASSING = (408, 429)  # a request that took too long, too many of them
SOMEBODY_ELSE = (
    "somebody else has changed {about} meanwhile: nothing was overwritten; look at it, then run the same command again"
)
_SAID = {
    401: "the Hub does not know this access token: log in again with `hf auth login`, or set another HF_TOKEN",
    403: "this access token may not write to {about}: use one with write access to it",
    404: "there is no {about} that this access token may see",
    412: SOMEBODY_ELSE,
}
_AS_IT_WAS = "the repository is as it was"

Result = TypeVar("Result")


class HubError(ConfigError):
    """The Hub cannot be reached, or does not take what is sent."""


@contextmanager
def explained(about: str) -> Iterator[None]:
    """Errors of the client become a HubError; about: the repository in question."""
    try:
        yield
    except HubError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set: unset it to publish") from error
    except HFValidationError as error:
        raise HubError(f"{about} is no name for a repository: {one_line(error)}") from error
    except (HTTP_ERROR, LocalEntryNotFoundError) as error:  # the second: a file that could not be asked for
        raise HubError(_line(error, about)) from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise HubError(f"{constants.ENDPOINT} does not answer as the Hub does: {_AS_IT_WAS}") from error
    except (RuntimeError, ValueError, OSError) as error:  # a failed upload; metadata that the Hub refuses; a full disk
        raise HubError(f"{one_line(error)}: {_AS_IT_WAS}; run the same command again once that is mended") from error


def again(ask: Callable[[], Result]) -> Result:
    """The answer to something that changes nothing when it is asked twice."""
    for wait in WAITS:
        try:
            return ask()
        except (HTTP_ERROR, json.JSONDecodeError) as error:
            if not may_pass(error):
                raise
            time.sleep(wait)
    return ask()


def may_pass(error: BaseException) -> bool:
    """Whether a later attempt may do: the server failed, or did not answer."""
    status = status_of(error)
    return status is None or status >= _OWN_FAILURES or status in _PASSING


def was_commit(error: BaseException) -> bool:
    """Whether the request that failed was the commit itself, so that it may have been carried out."""
    try:
        address = str(getattr(error, "request", None) and error.request.url)  # type: ignore[attr-defined]
    except RuntimeError:  # the library does not know which request it was
        return True
    return "/commit/" in address or address == "None"


def status_of(error: BaseException) -> int | None:
    """Of the answer; None where there was none."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _line(error: BaseException, about: str) -> str:
    status = status_of(error)
    if status is None:
        said = one_line(error) or type(error).__name__
        return (
            f"{constants.ENDPOINT} cannot be reached ({said}): nothing was changed; "
            "run the same command again when there is a network"
        )
    if status in _SAID:
        return _SAID[status].format(about=about)
    if status >= _OWN_FAILURES or status in _PASSING:
        return f"the Hub fails with status {status} again and again: {_AS_IT_WAS}; run the same command again later"
    return f"the Hub refuses with status {status}: {one_line(error)}"
