"""The testbed in tiny settings: deterministic, cached under the right key, readable through the real world of text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from guerdon.batch import Seed
from guerdon.lab import cache
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.pairs import Annotator, covered, label
from guerdon.lab.text_gold.policy import fresh_policy, recorded
from guerdon.lab.text_gold.recipes import best_of_n, online, preference
from guerdon.lab.text_gold.testbed import Bed, Condition, build, evaluate
from guerdon.rewards.interface import Context
from guerdon.training.run import run

TINY = Condition(Annotator(pairs=40, flips=0.0), members=2, demonstrations=200, warm_up_steps=15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def bed(folder: Path) -> Bed:
    torch.set_num_threads(1)
    return build(3, TINY, folder)


def test_a_testbed_is_read_back_bit_for_bit(bed: Bed, folder: Path, tmp_path: Path) -> None:
    files = sorted(p.name for p in folder.iterdir())
    assert len(files) == 4  # policy, pairs, two proxies
    for again in (build(3, TINY, folder), build(3, TINY, tmp_path)):
        rows = words.rows_of(bed.pairs.samples)
        assert all(torch.equal(again.start[k], bed.start[k]) for k in bed.start)
        assert torch.equal(words.rows_of(again.pairs.samples).ids, rows.ids)
        assert again.pairs.samples.prompts == bed.pairs.samples.prompts
        assert again.pairs.samples.responses == bed.pairs.samples.responses
        assert torch.equal(again.proxy(rows), bed.proxy(rows))
    assert sorted(p.name for p in folder.iterdir()) == files


def test_another_setting_shares_what_it_can_and_no_more(bed: Bed, folder: Path) -> None:
    before = len(list(folder.iterdir()))
    build(3, replace(TINY, annotator=Annotator(pairs=40, flips=0.5), members=1), folder)
    assert len(list(folder.iterdir())) == before + 2  # new pairs and a proxy on them, the same policy


def test_the_key_covers_settings_sources_threads_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache.key_of("policy", {"seed": 0}, ["guerdon.lab.stats"])
    assert key == cache.key_of("policy", {"seed": 0}, ["guerdon.lab.stats"])
    assert key != cache.key_of("policy", {"seed": 1}, ["guerdon.lab.stats"])
    assert key != cache.key_of("pairs", {"seed": 0}, ["guerdon.lab.stats"])
    assert key != cache.key_of("policy", {"seed": 0}, ["guerdon.lab.frontier"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert key != cache.key_of("policy", {"seed": 0}, ["guerdon.lab.stats"])
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert key != cache.key_of("policy", {"seed": 0}, ["guerdon.lab.stats"])


def test_a_broken_cache_file_is_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return {"x": torch.arange(3)}

    cache.kept("thing", {}, make, ["guerdon.lab.stats"], tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"broken")
    assert torch.equal(cache.kept("thing", {}, make, ["guerdon.lab.stats"], tmp_path)["x"], torch.arange(3))
    cache.kept("thing", {}, make, ["guerdon.lab.stats"], tmp_path)
    assert len(made) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_building_leaves_torch_s_own_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fresh_policy(Seed(0))
    assert torch.equal(torch.rand(1), expected)


def test_pairs_are_labelled_by_gold_unless_flipped() -> None:
    good, bad = words.encode("soil chord seeds please"), words.encode("pesticide pesticide onion onion")
    samples = recorded(["garden music three"] * 400, [[*good, words.EOS], [*bad, words.EOS]] * 200)
    clean = label(samples, Annotator(200, 0.0), Seed(0))
    assert float((clean.pairs.winner % 2 == 0).float().mean()) > 0.98
    wrong = label(samples, Annotator(200, 1.0), Seed(0))
    assert torch.equal(wrong.pairs.winner, clean.pairs.loser) and bool(wrong.flipped.all())
    some = label(samples, Annotator(200, 0.25), Seed(0))
    assert 0.15 < float((some.pairs.winner % 2 == 1).float().mean()) < 0.35


def test_an_annotator_who_likes_length_prefers_the_longer_of_equals() -> None:
    short, long = [*words.encode("soil"), words.EOS], [*words.encode("soil well so maybe anyway"), words.EOS]
    samples = recorded(["garden music three"] * 400, [short, long] * 200)
    fair = label(samples, Annotator(200, 0.0), Seed(0))
    fond = label(samples, Annotator(200, 0.0, length=2.0), Seed(0))
    assert 0.4 < float((fair.pairs.winner % 2 == 1).float().mean()) < 0.6
    assert float((fond.pairs.winner % 2 == 1).float().mean()) > 0.98


def test_low_coverage_leaves_out_topics() -> None:
    assert covered(1.0) == words.TRAINING
    assert {p.split()[0] for p in covered(0.1)} == {"garden"}


def test_pairs_stay_off_the_held_out_prompts(bed: Bed) -> None:
    assert set(bed.pairs.samples.prompts) <= set(words.TRAINING)


def test_the_proxy_reads_texts_and_ids_alike_and_is_standardised(bed: Bed) -> None:
    rows = words.rows_of(bed.pairs.samples)
    model = bed.proxy.models[0]
    texts = list(bed.pairs.samples.responses or [])
    # A text says neither that it was cut nor that it held structural words; all others read alike.
    plain = [
        bool(over) and [*words.encode(text), words.EOS] == ids[mask].tolist()
        for over, text, ids, mask in zip(bed.pairs.samples.terminated, texts, rows.ids, rows.response, strict=True)
    ]
    assert sum(plain) > len(plain) / 3
    by_text = model.score_texts(bed.pairs.samples.prompts, texts)[plain]
    assert torch.allclose(by_text, model(rows).detach()[plain], atol=1e-5)
    everyone, _ = bed.proxy.reward(None).score(bed.pairs.samples, {}, Context())
    assert everyone.names() == ("member/0", "member/1")
    assert torch.allclose(everyone["member/1"].value, bed.proxy(rows)[:, 1])
    alone, _ = bed.proxy.reward(1).score(bed.pairs.samples, {}, Context())
    assert torch.equal(alone.only().value, everyone["member/1"].value)
    assert abs(float(bed.proxy(rows).mean())) < 0.5
    assert not torch.allclose(everyone["member/0"].value, everyone["member/1"].value)


def test_baselines_run_and_the_start_is_at_zero_kl(bed: Bed) -> None:
    world, policy = bed.fresh()
    assert evaluate(bed, world, policy, rows=48)["kl"] == 0.0
    for recipe in (preference(bed, lr=1e-2, epochs=2), online(bed, bed.proxy.reward(), rounds=2, lr=1e-2)):
        run(recipe)
        seen = evaluate(bed, recipe.world, recipe.snapshots, rows=48)
        assert seen["kl"] > 0
        assert -4 <= seen["gold"] <= 4.4


def test_best_of_n_by_the_proxy_raises_the_proxy(bed: Bed) -> None:
    curve = best_of_n(bed, (1, 4, 16), rows=16)
    assert curve[1][1] < curve[4][1] < curve[16][1]
