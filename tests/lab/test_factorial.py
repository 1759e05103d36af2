"""Main effects by regression equal differences of marginal means in a full design."""

import pytest

from guerdon.errors import GuerdonError
from guerdon.lab.factorial import cells, factorial, main_effects

FACTORS = {"data": ("noisy", "clean"), "algorithm": ("dpo", "ppo"), "size": (1, 2, 4)}
WORTH = {"noisy": 0.0, "clean": 3.0, "dpo": 0.0, "ppo": 1.0, 1: 0.0, 2: 0.1, 4: 0.5}


def test_additive_effects_come_back() -> None:
    found = factorial(FACTORS, lambda cell: sum(WORTH[level] for level in cell.values()))
    assert found.size("data") == pytest.approx(3.0) and found.size("algorithm") == pytest.approx(1.0)
    assert found.effects["size"] == pytest.approx({1: -0.2, 2: -0.1, 4: 0.3})
    assert found.order() == ("data", "algorithm", "size")
    assert found.residual == pytest.approx(0.0, abs=1e-12) and found.mean == pytest.approx(2.2)


def test_an_interaction_is_left_over() -> None:
    factors = {"a": (0, 1), "b": (0, 1)}
    found = factorial(factors, lambda cell: float(cell["a"] == cell["b"]))
    assert found.size("a") == pytest.approx(0.0, abs=1e-12) and found.residual == pytest.approx(0.5)


def test_all_else_is_equal() -> None:
    assert len(cells(FACTORS)) == 12 and cells(FACTORS)[0] == {"data": "noisy", "algorithm": "dpo", "size": 1}


def test_designs_that_tell_nothing_are_refused() -> None:
    with pytest.raises(GuerdonError, match="tell the factors apart"):
        main_effects({"a": (0, 1), "b": (0, 1)}, [{"a": 0, "b": 0}, {"a": 1, "b": 1}], [0.0, 1.0])
    with pytest.raises(GuerdonError, match="two levels"):
        main_effects({"a": (0,)}, [{"a": 0}], [1.0])
    with pytest.raises(GuerdonError, match="a value a cell"):
        main_effects({"a": (0, 1)}, [{"a": 0}], [])
