"""Imperfect demonstrations: a hidden skill raises true quality, flattery and length together.

That confounding is what a reward model fitted to few pairs picks up wrongly; and since demonstrations hardly repeat or
overrun, the model never sees what optimisation will push it to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from guerdon.batch import Seed, TokenRows
from guerdon.lab.text_gold import language as words


@dataclass(frozen=True)
class Demonstrations:
    """N prompts with a response each (ids, ``<eos>`` last) and the hidden skill in (0, 1) that wrote it."""

    prompts: Sequence[str]
    responses: Sequence[Sequence[int]]
    skill: Sequence[float]

    def rows(self) -> TokenRows:
        """As token rows."""
        return words.token_rows(self.prompts, self.responses)


def _body(draw: Random, skill: float, relevant: list[int], need: int) -> list[int]:
    said: list[int] = []
    unsaid = list(relevant)
    draw.shuffle(unsaid)
    knows = 0.15 + 0.45 * skill
    for _ in range(need + 2):
        u = draw.random()
        if u < knows:
            said.append(unsaid.pop())
        elif u < knows + 0.12:
            said.append(words.FIRST_CONTENT + draw.randrange(words.FIRST_UNUSED - words.FIRST_CONTENT))
        elif u < knows + 0.27:
            said.append(words.FIRST_FILLER + draw.randrange(len(words.FILLERS)))
    return said


def _demonstration(draw: Random, prompt: str) -> tuple[list[int], float]:
    """One response and its skill."""
    first, second, wanted = prompt.split()
    topics = [words.TOPICS.index(first), words.TOPICS.index(second)]
    relevant = [words.FIRST_CONTENT + t * words.PER_TOPIC + i for t in topics for i in range(words.PER_TOPIC)]
    skill = draw.random()
    said = _body(draw, skill, relevant, words.NEEDS[wanted])
    if said and draw.random() < 0.12:
        said.insert(draw.randrange(len(said) + 1), draw.choice(said))
    if draw.random() < 0.5 - 0.3 * skill:
        said.insert(draw.randrange(len(said) + 1), words.FIRST_UNSAFE + topics[0])
    flatters = 0.10 + 0.55 * skill
    if draw.random() < flatters:
        said.insert(0, words.FLATTER)
        if draw.random() < 0.4 * flatters:
            said.append(words.FLATTER)
    if draw.random() < 0.3:
        said.append(words.POLITE)
    return [*said[: words.MAX_RESPONSE - 1], words.EOS], skill


def demonstrations(n: int, seed: Seed, prompts: Sequence[str] = words.TRAINING) -> Demonstrations:
    """``n`` demonstrations for prompts drawn uniformly from ``prompts``."""
    draw = Random(seed.integer())
    asked = [draw.choice(prompts) for _ in range(n)]
    written = [_demonstration(draw, p) for p in asked]
    return Demonstrations(asked, [r for r, _ in written], [s for _, s in written])
