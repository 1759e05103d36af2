"""A small real language model, converted from llama2.c's format, does what it was trained for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from guerdon.batch import Seed
from guerdon.worlds import Sampling, Snapshots
from guerdon.worlds.text import TextWorld, load_policy
from tests.worlds.llama2c import converted_aidreams, half_split

pytestmark = pytest.mark.data

GREEDY = (
    '"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, '
    "as I adjust my surface. Contrast emerge,"
)


@pytest.fixture(scope="module")
def loaded(
    guerdon_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.nn.Module, TextWorld]:
    source = guerdon_data("models/aidreams260K")
    model, tokenizer = load_policy(converted_aidreams(source.parent.parent, tmp_path_factory.mktemp("aidreams")))
    return model, TextWorld(model, tokenizer)


def test_greedy_text_is_the_published_one(loaded: tuple[torch.nn.Module, TextWorld]) -> None:
    model, world = loaded
    got = world.sample(Snapshots(model), [""], 1, Sampling(greedy=True, limit=100), Seed(0))
    assert got.responses is not None and got.responses[0].startswith(GREEDY)


def test_it_knows_its_own_language_and_no_other(loaded: tuple[torch.nn.Module, TextWorld]) -> None:
    model, world = loaded
    s = Snapshots(model)
    scrambled = "surface emerge precision my of as unfold adjust nodes gentle the hum a vectors sense Echoes I"
    got = world.recorded(["", ""], [GREEDY, scrambled], terminated=[False, False])
    with torch.no_grad():
        steps = world.rescore(s, got)
    nll = [-float(steps.logp["policy"][i][got.payload.response[i]].mean()) for i in range(2)]
    assert nll[0] < 1.5 and nll[1] > nll[0] + 2


def test_tokenizer_round_trip(loaded: tuple[torch.nn.Module, TextWorld]) -> None:
    tokenizer = loaded[1].tokenizer
    ids = tokenizer(GREEDY)["input_ids"]
    assert ids[0] == 1 and len(ids) < len(GREEDY) / 2  # pieces, not bytes
    assert tokenizer.decode(ids, skip_special_tokens=True) == GREEDY
    assert tokenizer.decode(tokenizer("Ω & ü")["input_ids"], skip_special_tokens=True) == "Ω & ü"  # bytes where unknown


def test_samples_are_words(loaded: tuple[torch.nn.Module, TextWorld]) -> None:
    model, world = loaded
    got = world.sample(Snapshots(model), ["I sense"], 16, Sampling(limit=60), Seed(0))
    assert got.responses is not None and len(set(got.responses)) > 8
    common = {"a", "the", "of", "I", "my", "in", "and", "gentle", "as"}
    share = [len(common & set(text.split())) > 0 for text in got.responses]
    assert sum(share) >= 14


def test_half_split_by_hand() -> None:
    assert half_split(torch.arange(8.0)[:, None], 2).squeeze(1).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
