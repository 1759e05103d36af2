"""Sampling: the tokens of a row depend on its key alone, follow the model, and are told from padding by masks."""

from dataclasses import replace

import pytest
import torch

from guerdon.batch import Message, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.worlds import Frozen, Sampling, Snapshots, Start, View
from guerdon.worlds.keyed import warped
from guerdon.worlds.text import TextWorld, tokenizer_key
from guerdon.worlds.text.heads import Head, find_head
from tests.worlds.tiny import ARCHITECTURES, tiny, word_tokenizer

PROMPTS = [[1, 5, 6], [1, 7, 8, 9, 10, 11, 12, 13], [1, 11], [1, 5, 6]]
LIMIT = Sampling(limit=12)


def rows(world: TextWorld, s: Snapshots, prompts: list, per_start: int = 3, **given: object) -> list[list[int]]:
    sampling = given.pop("sampling", LIMIT)
    got = world.sample(s, prompts, per_start, sampling, given.pop("seed", Seed(4)), **given)  # type: ignore[arg-type]
    return [i[r].tolist() for i, r in zip(got.payload.ids, got.payload.response, strict=True)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recorded_log_probabilities_are_the_rescored_ones(architecture: str) -> None:
    """Cache, left padding, positions, sliding windows and the leaving of finished rows all agree with the full
    forward."""
    model = tiny(architecture)
    s = Snapshots(model)
    drawn = []
    for head in (None, find_head(model), replace(find_head(model), fast=False), Head(linear=False)):
        world = TextWorld(model)
        if head is not None:
            world._heads[model] = head
        got = world.sample(s, PROMPTS, 4, Sampling(temperature=0.8, limit=20), Seed(1))
        drawn.append(got.payload.ids)
        steps = world.rescore(s, got, ["policy", "sampler"])
        torch.testing.assert_close(steps.logprob("policy").detach(), steps.logprob("sampler"), atol=2e-5, rtol=1e-4)
        assert got.payload.temperature == 0.8
        length = got.payload.response.sum(1)
        assert len(set(length.tolist())) > 2 and got.terminated is not None and bool(got.terminated.any())
    assert all(torch.equal(ids, drawn[0]) for ids in drawn)


def test_the_fast_decoder_is_not_used_where_it_would_differ() -> None:
    assert find_head(tiny("llama")).fast
    assert not find_head(tiny("llama").bfloat16()).fast
    assert not find_head(tiny("gpt2")).fast and not find_head(tiny("gemma2")).fast
    windowed = tiny("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)
    assert not find_head(windowed).fast
    odd = tiny("llama")
    odd.model.norm.register_forward_hook(lambda module, inputs, out: 2 * out)
    assert not find_head(odd).fast


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_draws_depend_on_the_key_alone(architecture: str) -> None:
    model = tiny(architecture)
    s, world = Snapshots(model), TextWorld(model)
    whole = rows(world, s, PROMPTS)
    assert whole == rows(world, s, PROMPTS)
    assert whole != rows(world, s, PROMPTS, seed=Seed(5))
    assert rows(TextWorld(model, max_tokens=50), s, PROMPTS) == whole
    # Order: the second of two equal prompts stays the second.
    backwards = rows(world, s, [PROMPTS[2], PROMPTS[0], PROMPTS[1], PROMPTS[3]])
    assert backwards == whole[6:9] + whole[0:3] + whole[3:6] + whole[9:12]
    assert rows(world, s, PROMPTS[1:2]) == whole[3:6]
    # Fewer samples a prompt are the first ones.
    assert rows(world, s, PROMPTS, per_start=1) == whole[::3]
    # Equal prompts and equal samples differ.
    assert len({tuple(r) for r in whole[0:3] + whole[9:12]}) > 3


def test_explicit_keys_move_with_their_start() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    a = rows(world, s, [Start([1, 5], key=7), Start([1, 5], key="other")])
    assert rows(world, s, [Start([1, 5], key="other")]) == a[3:]
    assert a[:3] != a[3:]


def test_draws_follow_the_model_s_distribution() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    got = world.sample(s, [[1, 5]], 20000, Sampling(temperature=1.3, limit=1), Seed(0))
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([[1, 5]])).logits[0, -1] / 1.3, -1)
    share = torch.bincount(got.payload.ids[:, -1], minlength=48) / 20000
    # Standard error at most 0.0035 each.
    torch.testing.assert_close(share, p, atol=0.014, rtol=0)


def test_greedy_is_hf_s_greedy() -> None:
    model = tiny("qwen2")
    s, world = Snapshots(model), TextWorld(model)
    got = rows(world, s, PROMPTS[:3], per_start=1, sampling=Sampling(greedy=True, limit=10))
    for prompt, mine in zip(PROMPTS, got, strict=False):
        theirs = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=10
        )[0, len(prompt) :].tolist()
        assert mine == theirs


def test_top_p_by_hand() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    kept = warped(logits, 1.0, 0.6).exp()
    torch.testing.assert_close(kept, torch.tensor([[0.0, 4 / 7, 0.0, 3 / 7]]))
    torch.testing.assert_close(warped(logits, 1.0, 0.3).exp(), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(warped(logits, 0.5, 1.0).exp(), torch.tensor([[1.0, 16.0, 4.0, 9.0]]) / 30)


def test_several_ends_of_sequence_minimum_and_truncation() -> None:
    model = tiny("llama")
    s = Snapshots(model)
    world = TextWorld(model, eos=[3, 17, 30])
    got = world.sample(s, PROMPTS, 16, Sampling(limit=9, minimum=2), Seed(2))
    terminated, truncated = got.terminated, got.truncated
    assert terminated is not None and truncated is not None and torch.equal(terminated, ~truncated)
    assert bool(terminated.any()) and bool(truncated.any())
    ends = set()
    for ids, mask, over in zip(got.payload.ids, got.payload.response, terminated, strict=True):
        r = ids[mask].tolist()
        assert not {3, 17, 30} & set(r[:-1]) and (r[-1] in {3, 17, 30}) == bool(over)
        assert len(r) >= 3 if over else len(r) == 9
        ends.add(r[-1] if over else None)
    assert len(ends) >= 3


def test_pad_id_equal_to_end_of_sequence_and_a_tokenizer_without_pad_token() -> None:
    """Padding inferred from ids masked the end of sequence (TRL 707a7172e, 485852c94); here ids are never asked."""
    model = tiny("llama", pad_token_id=3)
    tokenizer = word_tokenizer()
    assert tokenizer.pad_token is None
    s, world = Snapshots(model), TextWorld(model, tokenizer)
    got = world.sample(s, ["w5 w6", "w7"], 8, LIMIT, Seed(3))
    assert got.responses is not None and got.terminated is not None
    for ids, mask, over in zip(got.payload.ids, got.payload.response, got.terminated, strict=True):
        assert (ids[mask][-1] == 3) == bool(over)
    text = got.responses[0]
    assert text == tokenizer.decode(got.payload.ids[0][got.payload.response[0]], skip_special_tokens=True)
    assert got.prompts[:1] == ["w5 w6"]
    assert got.made_by == {"sampler": "policy@0", "tokenizer": tokenizer_key(tokenizer)}
    assert got.partitions["prompt"].ids.tolist() == [0] * 8 + [1] * 8
    assert got.payload.attention.sum(1)[0] - got.payload.response.sum(1)[0] == 3  # <s> w5 w6


def test_messages_go_through_the_chat_template() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer(template=True)
    s, world = Snapshots(model), TextWorld(model, tokenizer)
    ids = [1, 40, 5, 6, 3, 41]
    for prompt in ([{"role": "user", "content": "w5 w6"}], [Message.of("user", "w5 w6")]):
        got = world.sample(s, [prompt], 1, LIMIT, Seed(0))
        assert got.payload.ids[0][~got.payload.response[0]].tolist() == ids
        recorded = world.recorded([prompt], ["w9 w10"])
        # Exactly one end of sequence, and the template's own (an extra one: TRL a70b4e014).
        assert recorded.payload.ids[0].tolist() == [*ids, 9, 10, 3]
        assert recorded.payload.response[0].tolist() == [False] * 6 + [True] * 3
    with pytest.raises(GuerdonError, match="no chat template"):
        TextWorld(model, word_tokenizer(), rendering="template").sample(s, [[{"role": "user", "content": "w5"}]])
    with pytest.raises(DataError, match="'role' and 'content'"):
        world.sample(s, [[{"from": "user", "value": "w5"}]])
    with pytest.raises(GuerdonError, match="no tokenizer"):
        TextWorld(model).sample(s, ["w5"])


def test_recorded_text_and_ids() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    world = TextWorld(model, tokenizer)
    got = world.recorded(["w5", [1, 6]], ["w7 </s>", [8, 9]], terminated=[True, False])
    assert [i[a].tolist() for i, a in zip(got.payload.ids, got.payload.attention, strict=True)] == [
        [1, 5, 7, 3],
        [1, 6, 8, 9],
    ]
    assert got.truncated is not None and got.truncated.tolist() == [False, True]
    assert world.recorded(["w5"], [""]).payload.response.sum() == 1  # the end of sequence alone
    with pytest.raises(GuerdonError, match="Row 1 has 2 prompt and 70 response tokens, but the context is 64"):
        world.recorded(["w5", "w6"], ["w7", [8] * 70])


def test_an_empty_prompt_starts_from_the_beginning_of_sequence() -> None:
    model = tiny("llama")
    s = Snapshots(model)
    for world, prompt in ((TextWorld(model, word_tokenizer()), ""), (TextWorld(model, word_tokenizer()), [])):
        got = world.sample(s, [prompt], 2, LIMIT, Seed(0))
        assert got.payload.ids[:, 0].tolist() == [1, 1]
        assert world.rescore(s, got).logp["policy"][got.payload.response].isfinite().all()
    # Without a tokenizer the end of sequence does it, as GPT-2 has it.
    assert TextWorld(model).sample(s, [[]], 1, LIMIT, Seed(0)).payload.ids[0, 0] == 3


def test_context_is_checked_before_anything_is_generated() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    with pytest.raises(
        GuerdonError, match="longest prompt has 60 tokens and responses may have 5, but the context is 64"
    ):
        world.sample(s, [[1] * 60], 1, Sampling(limit=5))
    with pytest.raises(GuerdonError, match="longest prompt has 64 tokens"):
        world.sample(s, [[1] * 64], 1, Sampling(limit=None))
    got = world.sample(s, [[1] * 60], 1, Sampling(limit=None, minimum=4))
    assert got.payload.response.sum() == 4


def test_hooks_change_a_step_and_see_where_it_is() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    seen: list[View] = []

    def only_rows_number(logits: torch.Tensor, view: View) -> torch.Tensor:
        seen.append(view)
        forced = torch.full_like(logits, -torch.inf)
        return forced.scatter(1, (view.rows + 4)[:, None], 0.0)

    got = world.sample(s, [[1, 5], [1]], 2, Sampling(limit=3), Seed(0), hooks=[only_rows_number])
    assert got.payload.ids[:, 2:].tolist() == [[4, 4, 4], [5, 5, 5], [6, 6, 6], [7, 7, 7]]
    assert got.payload.logp is not None and got.payload.logp.abs().sum() == 0  # drawn with probability 1
    assert [v.step for v in seen] == [0, 1, 2]
    assert seen[1].state["ids"].tolist() == [[1, 5, 4], [1, 5, 5], [0, 1, 6], [0, 1, 7]]
    assert seen[1].state["attention"].tolist() == [[True] * 3, [True] * 3, [False, True, True], [False, True, True]]
    with pytest.raises(GuerdonError, match="left row 0 no token to draw at step 0"):
        world.sample(s, [[1]], 1, LIMIT, Seed(0), hooks=[lambda logits, _: torch.full_like(logits, -torch.inf)])


def test_another_snapshot_can_draw_and_dropout_is_off() -> None:
    model = tiny("gpt2", resid_pdrop=0.5).train()
    s, world = Snapshots(model, reference=Frozen()), TextWorld(model)
    before = rows(world, s, PROMPTS)
    assert model.training
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    assert rows(world, s, PROMPTS) != before
    assert rows(world, s, PROMPTS, sampling=replace(LIMIT, snapshot="reference")) == before
    got = world.sample(s, PROMPTS, 1, replace(LIMIT, snapshot="reference"), Seed(4))
    assert got.made_by == {"sampler": "reference@0"}


def test_sampling_is_validated() -> None:
    for given, message in (
        ({"temperature": 0.0}, "above 0"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\]"),
        ({"limit": 0}, "at least 1 step"),
        ({"limit": 3, "minimum": 4}, r"minimum must lie in \[0, 3\]"),
    ):
        with pytest.raises(GuerdonError, match=message):
            Sampling(**given)  # type: ignore[arg-type]


def test_taking_rows_keeps_everything_aligned() -> None:
    model = tiny("llama")
    s, world = Snapshots(model), TextWorld(model)
    got = world.sample(s, PROMPTS, 2, LIMIT, Seed(0))
    steps = world.rescore(s, got)
    at = torch.tensor([5, 0])
    few = world.rescore(s, got.take(at))
    torch.testing.assert_close(few.logp["policy"], steps.take(at).logp["policy"], atol=1e-5, rtol=1e-5)
    trimmed = got.take(torch.tensor([4])).payload.trimmed()
    assert bool(trimmed.attention.all()) and trimmed.logp is not None and trimmed.temperature == 1.0
