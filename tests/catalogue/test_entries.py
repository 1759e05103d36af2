"""Every entry is whole, findable, runnable, and its verdict is what the stored numbers say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guerdon.catalogue import RESULTS, describe, entries, find, reproduce, search, stored, table
from guerdon.catalogue.verdicts import describe_experiment
from guerdon.errors import GuerdonError
from guerdon.lab.protocol import verdict

SLUGS = [m.slug for m in entries()]


@pytest.fixture(scope="module")
def testbeds(tmp_path_factory):
    """Testbeds of smoke runs are kept apart from the user's; entries share them."""
    return tmp_path_factory.mktemp("testbeds")


@pytest.fixture
def small_cache(tmp_path, testbeds, monkeypatch):
    """A folder for the results of one entry."""
    monkeypatch.setenv("GUERDON_CACHE", str(testbeds))
    return tmp_path


def test_the_first_five_are_there():
    assert {"dpo": 169, "simpo": 139, "par": 8, "ensembles": 14, "remax": 192}.items() <= {
        m.slug: m.card for m in entries()
    }.items()


def test_found_by_slug_by_card_and_by_text():
    assert find("169") is find("dpo") or find("169").slug == "dpo"
    assert "dpo" in [m.slug for m in search("rafailov")] and not search("no such author")
    with pytest.raises(GuerdonError, match="simpo"):
        find("simp0")


@pytest.mark.parametrize("slug", SLUGS)
def test_an_entry_is_whole(slug):
    method = find(slug)
    assert method.title and method.paper and method.essence.endswith(".") and method.composition
    assert method.claim.statement and method.experiment.budget
    assert method.experiment.run.endswith(":run_one")
    lines = Path(__import__(method.experiment.run.partition(":")[0], fromlist=["x"]).__file__).read_text().count("\n")
    assert lines <= 120  # an entry is short because the library is good


@pytest.mark.parametrize("slug", SLUGS)
def test_smoke(slug, small_cache):
    found = reproduce(find(slug), smoke=True, folder=small_cache, processes=1)
    for experiment in find(slug).experiments:
        assert found[experiment.slug].status == "smoke"
        kept = json.loads((small_cache / f"{experiment.slug}.smoke.json").read_text())
        assert {r["arm"] for r in kept["runs"]} == set(experiment.arms)


@pytest.mark.parametrize("experiment", [e for m in entries() for e in m.experiments], ids=lambda e: e.slug)
def test_the_stored_verdict_stands(experiment):
    """A stored result is whole and of this very claim; staleness is shown, not failed: sources may move first."""
    result = stored(experiment)
    assert result is not None, f"no result of {experiment.slug} is stored in {RESULTS}; guerdon reproduce makes it"
    decided = verdict(result, hash_now=result.sources_hash).status
    assert decided in ("reproduced", "not reproduced", "inconclusive")
    assert result.experiment["claim"]["statement"] == experiment.claim.statement
    for arm in experiment.arms:
        assert len(result.of("reporting", arm)) >= 8
    assert describe_experiment(experiment)["verdict"] in (decided, "stale")


def test_experiments_beside_the_main_one_are_named_after_it():
    method = find("sppo")
    assert [e.slug for e in method.beside] == ["sppo-text"] == list(describe(method)["beside"])
    with pytest.raises(GuerdonError, match="beside 'sppo'"):
        replace(method, beside=(replace(method.beside[0], slug="other"),))


def test_the_table_names_every_entry_and_what_chance_gives():
    text = table()
    assert all(f"`{experiment.slug}`" in text for m in entries() for experiment in m.experiments)
    assert "chance alone" in text
