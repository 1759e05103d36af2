"""What exporters share beyond ``rewards.bind``: what a host without missing values is told of an invalid reward."""

import math

from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.bind import Answer

Invalid = float | str
"""'raise', 'nan', or a number of the user's choice; never a silent zero."""


def checked_invalid(invalid: Invalid) -> Invalid:
    """The same policy. Raises GuerdonError unless it is 'raise', 'nan' or a number."""
    if isinstance(invalid, bool) or (isinstance(invalid, str) and invalid not in ("raise", "nan")):
        raise GuerdonError(f"invalid must be 'raise', 'nan' or a number, but {invalid!r} came.")
    return invalid


def told(answer: Answer, invalid: Invalid, row: str = "This row") -> float:
    """The answer's value, or what ``invalid`` puts in its place. Raises RewardError where that is 'raise'."""
    if answer.value is not None:
        return answer.value
    if invalid == "raise":
        why = f"{answer.status.name}: {answer.note}" if answer.note else answer.status.name
        raise RewardError(
            f"{row} has no valid reward ({why}), and this host knows no missing ones; say what it shall be told: "
            "invalid='nan' or a number."
        )
    return math.nan if isinstance(invalid, str) else float(invalid)
