"""The reward of an online run: a trained model or any reward, on the records' own prompts, combined and shaped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guerdon.batch import Message, Preference, Samples, Scores, Seed
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards import Combine, Context, Reward, State
from guerdon.rewards.models import ModelReward, TextScorer
from guerdon.shaping import mean, mean_minus_std, minimum, relative
from guerdon.verbs.stored import load_any
from guerdon.verbs.unfinished import prompt_ids
from guerdon.worlds import Actors, Sampling
from guerdon.worlds.text import TextWorld

MESSAGES = "messages"
"""The column that carries a record's own prompt; ``Samples.prompts`` are the token ids the policy was given."""


@dataclass(frozen=True)
class Starts:
    """S prompts: ids as the policy is given them, messages as the record has them."""

    ids: Sequence[Sequence[int]]
    messages: Sequence[Sequence[Message]]

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, n: int) -> "Starts":
        """The first ``n``."""
        return Starts(self.ids[:n], self.messages[:n])

    @staticmethod
    def of(records: Sequence[Preference], tokenizer: Any, room: int | None) -> "Starts":
        """The different prompts of the records, in order; of one longer than ``room`` tokens the end is kept."""
        found: dict[tuple[int, ...], Sequence[Message]] = {}
        for record in records:
            ids = prompt_ids(tokenizer, record.prompt)
            found.setdefault(ids if room is None else ids[-room:], record.prompt)
        return Starts([list(ids) for ids in found], list(found.values()))


RewardLike = Reward | TextScorer | str | Path


class OnMessages(Reward):
    """A reward that reads the record's prompt instead of the policy's token ids, and responses without outer white
    space.

    The reward model saw prompts as messages when it was trained; the policy may render them otherwise, and may see less
    of them.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.name, self.needs, self.channels = reward.name, reward.needs, reward.channels

    def init(self) -> State:
        """The inner reward's state."""
        return self.reward.init()

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """The inner reward's scores. Raises RewardError, naming the reward, where it raises anything else."""
        said = [text.strip() for text in samples.texts()]
        read = replace(samples, prompts=samples.column(MESSAGES), responses=said)
        try:
            return self.reward.score(read, state, context)
        except GuerdonError:
            raise
        except Exception as error:
            raise RewardError(f"The reward {self.name!r} raised {type(error).__name__}: {error}.") from error


def as_reward(given: RewardLike, device: str = "cpu") -> Reward:
    """A reward by name (``stored.load_any``, without trust), a reward model, or any reward, as a reward on text."""
    if isinstance(given, str | Path):
        return load_any(given, device)
    if isinstance(given, Reward):
        return given
    if isinstance(given, TextScorer):
        return ModelReward(given)
    raise GuerdonError(
        f"A reward must be a folder of train_reward, a reward model or a Reward, but a {type(given).__name__} came."
    )


def combined(given: RewardLike, combine: str = "mean", device: str = "cpu") -> Reward:
    """One channel: the members of an ensemble combined by 'mean', 'minimum' or 'mean_minus_std'."""
    return one_channel(OnMessages(as_reward(given, device)), combine)


def one_channel(inner: Reward, combine: str = "mean") -> Reward:
    """The reward itself where it has one channel, otherwise its channels combined as in ``combined``."""
    if len(inner.channels) < 2:
        return inner
    how: dict[str, Combine] = {"mean": mean(), "minimum": minimum(), "mean_minus_std": mean_minus_std(1.0)}
    return inner.combine(how[combine])


def shaped(base: Reward, anchors: Samples | None) -> Reward:
    """PAR (Fu et al. 2025) on the anchors, or the reward as it is without any."""
    return base if anchors is None else relative(base, anchors)


def draw(world: TextWorld, actors: Actors, starts: Starts, per_start: int, sampling: Sampling, seed: Seed) -> Samples:
    """``per_start`` responses to every start, with the records' own prompts in the column 'messages'."""
    samples = world.sample(actors, starts.ids, per_start, sampling, seed)
    return samples.with_columns(**{MESSAGES: [m for m in starts.messages for _ in range(per_start)]})
