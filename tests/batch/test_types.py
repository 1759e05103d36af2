"""The types refuse what cannot be meant, keep what they were given, and cut without loss."""

import pytest
import torch

from guerdon.batch import (
    Batch,
    Channel,
    Comparison,
    Pairs,
    Partition,
    Predictions,
    Preference,
    Samples,
    Scores,
    Seed,
    Status,
    Steps,
    TokenRows,
)
from guerdon.errors import GuerdonError, NeedsError, RewardError

NAN = float("nan")


def test_seed_is_a_key():
    a = Seed(7).child("round", 3)
    assert torch.equal(torch.rand(4, generator=a.torch()), torch.rand(4, generator=Seed(7, ("round", 3)).torch()))
    assert a.numpy().random() == Seed(7, ("round", 3)).numpy().random()
    assert Seed(7).child(1).integer() != Seed(7).child("1").integer()  # 1 is not "1"
    assert 0 <= a.integer(8) < 256
    assert len({Seed(0).child(i).integer() for i in range(1000)}) == 1000


def test_steps_mask_hides_everything_and_log_ratio_is_per_step():
    mask = torch.tensor([[True, True, False]])
    steps = Steps(mask, {"policy": torch.tensor([[-1.0, -2.0, NAN]]), "reference": torch.tensor([[-1.5, -1.0, 1e9]])})
    assert steps.log_ratio().tolist() == [[0.5, -1.0, 0.0]]
    with pytest.raises(NeedsError, match=r"'guide'.*\['policy', 'reference'\]"):
        steps.log_ratio("guide")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Steps(torch.ones(2, 3)), r"Steps\.mask must be torch\.bool"),
        (
            lambda: Steps(torch.ones(2, 3, dtype=torch.bool), {"policy": torch.zeros(2, 4)}),
            r"logp\['policy'\].*\[2,3\]",
        ),
        (lambda: Steps(torch.ones(2, 3, dtype=torch.bool), {"policy": torch.zeros(2, 3).half()}), "float32"),
        (lambda: Pairs(torch.tensor([0.0]), torch.tensor([1])), r"Pairs\.winner must be torch\.int64"),
        (lambda: Pairs(torch.tensor([0]), torch.tensor([1]), preferred=torch.tensor([1.5])), r"\[0, 1\]"),
        (lambda: Partition(torch.zeros(2, 2, 2, dtype=torch.int64)), r"\[N\] or \[N,T\]"),
        (lambda: Comparison(0, 0), "two responses"),
        (lambda: Preference((), ((),), (Comparison(0, 1),)), "there are 1"),
    ],
)
def test_errors_name_the_field(build, message):
    with pytest.raises(GuerdonError, match=message):
        build()


def test_errors_of_predictions_average_over_dimensions_at_the_shared_probe():
    mask = torch.tensor([[True, False]])
    target = torch.tensor([[[0.0, 0.0], [NAN, NAN]]])
    predictions = Predictions(
        mask, target, {"policy": torch.tensor([[[1.0, 3.0], [1.0, 1.0]]])}, torch.tensor([[2.0, NAN]])
    )
    assert predictions.errors("policy").tolist() == [[10.0, 0.0]]  # (1 + 9)/2 times the weight 2
    assert predictions.as_steps().logprob("policy").tolist() == [[-10.0, 0.0]]


def test_invalid_is_a_status_never_a_zero():
    channel = Channel.of([1.0, None, 3.0])
    assert channel.ok.tolist() == [True, False, True]
    assert channel.statuses().tolist() == [0, int(Status.NOT_APPLICABLE), 0]
    assert torch.isnan(channel.value[1])
    assert channel.filled(-7.0).tolist() == [1.0, -7.0, 3.0]


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_reward_that_is_not_finite_is_refused_by_row(bad):
    with pytest.raises(RewardError, match="row 1"):
        Channel(torch.tensor([0.0, bad]))


def test_integer_and_bool_rewards_become_float32():
    assert Channel(torch.tensor([1, 2])).value.dtype == torch.float32
    assert Channel(torch.tensor([True, False])).value.tolist() == [1.0, 0.0]


def test_zero_is_a_reward_like_any_other():
    """OpenRLHF 33f9d72f read a score of 0.0 as missing."""
    assert Channel.of([0.0]).ok.tolist() == [True]


def test_scores_refuse_two_meanings_of_one_name_and_several_where_one_is_meant():
    a, b = Scores({"a": Channel.of([1.0])}), Scores({"b": Channel.of([2.0])})
    assert a.merged(b).names() == ("a", "b")
    with pytest.raises(GuerdonError, match="rename"):
        a.merged(a)
    with pytest.raises(NeedsError, match="combine"):
        a.merged(b).only()
    with pytest.raises(GuerdonError, match="row counts"):
        Scores({"a": Channel.of([1.0]), "b": Channel.of([1.0, 2.0])})


def test_samples_group_by_prompt_and_keep_columns():
    samples = Samples(None, ["x", "y", "x"], ["1", "2", "3"], columns={"answer": [1, 2, 3]})
    assert samples.partition("prompt").ids.tolist() == [0, 1, 0]
    assert samples.partition("batch").count() == 1
    part = samples.take(torch.tensor([2, 0]))
    assert part.column("answer") == [3, 1] and part.partition("prompt").ids.tolist() == [0, 0]
    with pytest.raises(NeedsError, match="no column 'gold'"):
        samples.column("gold")


def test_token_rows_keep_their_width_and_never_mark_padding():
    attention = torch.tensor([[False, True, True, False], [True, True, True, True]])
    rows = TokenRows(torch.arange(8).reshape(2, 4), attention, torch.tensor([[False, False, True, False]] * 2))
    assert rows.take(torch.tensor([0])).ids.tolist() == [[0, 1, 2, 3]]  # steps taken beside it stay aligned
    with pytest.raises(GuerdonError, match="padding"):
        TokenRows(rows.ids, attention, torch.ones(2, 4, dtype=torch.bool))


def batch(pairs: Pairs | None = None, **more) -> Batch:
    return Batch(
        Steps(torch.ones(6, 2, dtype=torch.bool), {"policy": torch.arange(12.0).reshape(6, 2)}), pairs=pairs, **more
    )


def test_blocks_follow_chains_of_pairs():
    chain = Pairs(torch.tensor([5, 3, 0]), torch.tensor([3, 1, 2]))
    assert batch(chain).blocks().tolist() == [0, 1, 0, 1, 4, 1]


def test_split_keeps_pairs_whole_and_loses_no_row():
    whole = batch(Pairs(torch.tensor([0, 5, 2]), torch.tensor([4, 1, 3]), margin=torch.tensor([1.0, 2.0, 3.0])))
    parts = whole.split(3)
    assert [len(p) for p in parts] == [2, 2, 2]
    assert sorted(p.pairs.margin.item() for p in parts) == [1.0, 2.0, 3.0]
    seen = torch.cat([p.steps.logp["policy"][:, 0] for p in parts])
    assert sorted(seen.tolist()) == whole.steps.logp["policy"][:, 0].tolist()
    for part in parts:  # each pair still joins the rows it joined
        joined = (part.steps.logp["policy"][part.pairs.winner, 0], part.steps.logp["policy"][part.pairs.loser, 0])
        assert (joined[0].item(), joined[1].item()) in {(0.0, 8.0), (10.0, 2.0), (4.0, 6.0)}


def test_a_torn_pair_is_refused():
    with pytest.raises(GuerdonError, match="pair 0"):
        batch(Pairs(torch.tensor([0]), torch.tensor([1]))).take(torch.tensor([0, 2]))


def test_named_rows_are_renumbered():
    part = batch(rows={"chosen": torch.tensor([4, 1]), "rejected": torch.tensor([2])}).take(torch.tensor([4, 2, 1]))
    assert part.rows["chosen"].tolist() == [0, 2] and part.rows["rejected"].tolist() == [1]


def test_read_names_the_path():
    with pytest.raises(NeedsError, match=r"'steps\.logp\.reference'"):
        batch().read("steps.logp.reference")
    with pytest.raises(NeedsError, match="'pairs'"):
        batch().read("pairs")
    assert batch().read("steps.logp.policy").shape == (6, 2)


def test_preference_pairs_put_the_likelier_side_first():
    record = Preference((), ((), (), ()), (Comparison(0, 1, 0.2), Comparison(2, 0, 0.5, weight=3.0)))
    assert record.pairs() == ((1, 0, 0.8, 1.0), (2, 0, 0.5, 3.0))
