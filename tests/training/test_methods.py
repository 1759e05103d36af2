"""The table of methods: whole, consistent, and every hyperparameter of it settable."""

from __future__ import annotations

from pathlib import Path

import pytest

from guerdon.catalogue import entries
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.training import Build, Estimator, methods
from guerdon.training.methods import Preset
from guerdon.worlds.snapshots import Rule

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = methods.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_whole(name: str) -> None:
    preset = methods.find(name)
    made = preset.called(preset.objective, preset.settings({}), 10)
    assert isinstance(made if isinstance(made, Objective) else made(0), Objective)
    assert isinstance(preset.called(preset.estimator, preset.settings({})), Estimator)
    assert isinstance(preset.called(preset.build, preset.settings({})), Build)
    assert all(isinstance(rule, Rule) for rule in preset.called(preset.rules, preset.settings({}), 10).values())
    assert preset.paper and name == name.lower() and " " not in name


@pytest.mark.parametrize("name", NAMES)
def test_its_snapshots_are_what_it_reads(name: str) -> None:
    """Every log-prob that the objective names is the policy's, one the loop makes, or has a rule or a guide."""
    preset = methods.find(name)
    made = preset.called(preset.objective, preset.settings({}), 10)
    objective = made if isinstance(made, Objective) else made(0)
    rules = set(preset.called(preset.rules, preset.settings({}), 10))
    given = {"policy", "old", "sampler", *rules, *(["guide"] if "guide" in preset.needs else [])}
    assert set(objective.logps()) <= given


@pytest.mark.parametrize("name", NAMES)
def test_its_checks_are_tests(name: str) -> None:
    """A check that is named stands in the file it names."""
    for check in methods.find(name).checks:
        file, _, test = check.partition("::")
        assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), check


def test_cards_are_those_of_the_catalogue() -> None:
    slugs = {m.card: m.slug for m in entries()}
    for preset in methods.presets():
        assert preset.card is None or preset.card in slugs, preset.name


def test_what_is_given_wins_and_what_is_wrong_is_named() -> None:
    dpo = methods.find("dpo")
    assert dpo.settings({"beta": 2, "smoothing": None}) == {"beta": 2, "smoothing": 0.0}
    with pytest.raises(GuerdonError, match="beta of dpo must be a float, but True came"):
        dpo.settings({"beta": True})
    with pytest.raises(GuerdonError, match="reads must be one of"):
        Preset("x", "y", dpo.objective, reads="tea leaves")


def test_updates_are_told_to_schedules_alone() -> None:
    def scheduled(beta: float = 0.1, updates: int = 0) -> Objective:
        assert updates == 7
        return methods.find("dpo").objective(beta)

    preset = Preset("x", "y", scheduled)
    assert "updates" not in preset.hyper()
    preset.called(preset.objective, preset.settings({}), 7)
