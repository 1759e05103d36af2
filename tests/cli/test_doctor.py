"""The doctor names what is missing and fails only where the core is broken."""

import json
import tomllib
from pathlib import Path

import pytest

from guerdon.cli import main
from guerdon.verbs import doctor

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}


def test_a_whole_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = told(capsys)
    assert {"guerdon", "Python", "torch", "numpy", "devices", "cache folder", "threads", "disk"} <= set(found)
    assert found["torch"]["ok"] is True and "cpu" in str(found["devices"]["found"])
    assert main(["doctor"]) == 0
    assert "✓" in capsys.readouterr().out


def test_a_missing_extra_comes_with_its_pip_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "matplotlib" else real(name))
    assert main(["doctor", "--json"]) == 0
    check = told(capsys)["extra report"]
    assert check["ok"] is None and "matplotlib" in str(check["found"])
    assert check["help"] == "pip install 'guerdon[report]'"


def test_a_broken_core_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.import_module

    def broken(name: str) -> object:
        if name == "numpy":
            raise ImportError("built for another Python")
        return real(name)

    monkeypatch.setattr(doctor, "import_module", broken)
    assert main(["doctor", "--json"]) == 1
    check = told(capsys)["numpy"]
    assert check["ok"] is False and "another Python" in str(check["found"])


def test_a_cache_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "file"))
    assert main(["doctor", "--json"]) == 1
    assert "GUERDON_CACHE" in str(told(capsys)["cache folder"]["help"])


def test_the_extras_are_those_of_the_project() -> None:
    """The table repeats pyproject.toml, because a source tree has no metadata to read."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for name, packages in doctor.EXTRAS.items():
        declared = {p.split(">")[0] for p in extras[name]}
        plain = {p.split("[")[0] for p in declared}
        bundled = {b for p in declared if "[" in p for b in p.partition("[")[2].rstrip("]").split(",")}
        assert plain <= set(packages) <= plain | bundled, name
    assert set(doctor.EXTRAS) == set(extras) - {"demo", "all", "hosts", "docs", "test", "dev"}
