"""Pairs of solutions cut down to the first step in which they differ (Step-DPO)."""

from collections.abc import Iterable
from dataclasses import replace

from guerdon.batch import Message, Part, Preference
from guerdon.data.provenance import noted, only_pair

OPEN = "open"
"""Kind of a part that says: this turn goes on. What stands behind it continues the turn, and no end is scored."""


def is_open(message: Message) -> bool:
    """Whether the message is an unfinished turn."""
    return any(part.kind == OPEN for part in message.parts)


def first_differing_step(
    preferences: Iterable[Preference], separator: str = "\n", rest: bool = False
) -> list[Preference]:
    """A record for every comparison: the steps that both responses begin with belong to the prompt, and the two
    responses are the step after them.

    Step-DPO (Lai et al. 2024, 2406.18629, eq. 2) is DPO on such pairs: −log σ(β log-ratio of the right next step − β
    log-ratio of the wrong one, both after the prompt and the right steps before). A step ends with ``separator``. The
    shared steps become an unfinished assistant turn at the end of the prompt, and a step that more follows is
    unfinished too, so that no end of sequence is learned where there was none. rest: responses keep all that follows.
    Comparisons of equal responses are left out; so are ties (p = ½), which say nothing of a step. Responses of several
    messages, or of more than text, stand as they are. Each record tells what was done in its column 'made_by'.
    """
    found = []
    for preference in preferences:
        for at, (w, l, p, weight) in enumerate(preference.pairs()):
            if p == 0.5 or preference.responses[w] == preference.responses[l]:
                continue
            pair = only_pair(preference, w, l)
            compared = replace(preference.comparisons[at], first=0, second=1, p=p, weight=weight, order=None)
            found.append(_cut(replace(pair, comparisons=(compared,)), separator, rest))
    return found


def _cut(pair: Preference, separator: str, rest: bool) -> Preference:
    said = [_text(response) for response in pair.responses]
    if said[0] is None or said[1] is None:
        return noted(pair, "first_differing_step", shared=0)
    steps = [steps_of(text, separator) for text in said if text is not None]
    shared = 0
    while shared < min(map(len, steps)) and steps[0][shared] == steps[1][shared]:
        shared += 1
    # A response that is the beginning of the other one has no step of its own: its end is what differs.
    shared = min(shared, len(steps[0]) - 1, len(steps[1]) - 1)
    before = "".join(steps[0][:shared])
    begun = (*pair.prompt, _turn(before, True)) if before else pair.prompt
    cut = tuple((_turn("".join(s[shared:]) if rest else s[shared], not rest and shared + 1 < len(s)),) for s in steps)
    made = replace(pair, prompt=begun, responses=cut, step_labels=None)
    return noted(made, "first_differing_step", shared=shared, rest=rest)


def steps_of(text: str, separator: str = "\n") -> list[str]:
    """The steps of a text, each with the separators behind it (blank lines belong to the step before them); joined
    they are the text."""
    found: list[str] = []
    for piece in text.split(separator):
        whole = piece + separator
        if found and not piece.strip():
            found[-1] += whole
        else:
            found.append(whole)
    found[-1] = found[-1].removesuffix(separator)
    return [step for step in found if step] or [""]


def _text(response: tuple[Message, ...]) -> str | None:
    """The text of a response of one message of text alone, else None."""
    if len(response) != 1 or any(part.kind != "text" for part in response[0].parts):
        return None
    return response[0].text


def _turn(text: str, goes_on: bool) -> Message:
    return Message("assistant", (Part("text", text), *((Part(OPEN, None),) if goes_on else ())))
