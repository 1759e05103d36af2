"""A built wheel holds the package and nothing else, says what it needs, and works unpacked, without make, sources or
network."""

import email
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from email.message import Message
from pathlib import Path

import pytest

from guerdon import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
RUN = """
import sys
import guerdon
assert guerdon.__file__.startswith(sys.argv[1]), guerdon.__file__
from guerdon.cli import main
for call in (["--version"], ["audit", "prefs.jsonl", "--json"], ["methods", "dpo"], ["doctor", "--json"]):
    assert main(call) == 0, call
"""


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """What a process of this interpreter prints, with nothing of this checkout on its path."""
    there = {"PATH": "", "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=there if path is None else {**there, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content; built from a copy, so that the working tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "guerdon", source / "guerdon", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "benchmarks", "examples", "docs"):  # what must stay out has to be there
        (source / name).mkdir()
        shutil.copy(ROOT / "guerdon" / "errors.py", source / name / "__init__.py")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python("-c", BUILD, str(folder), cwd=source)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def metadata(unpacked: Path) -> Message:
    """The wheel's METADATA."""
    return email.message_from_bytes((unpacked / f"guerdon-{__version__}.dist-info" / "METADATA").read_bytes())


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(unpacked: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {p.as_posix() for p in found}

    kept, built = files(ROOT / "guerdon"), files(unpacked / "guerdon")
    assert len(kept) > 300 and "py.typed" in kept
    assert kept - built == set(), "a kind of file that [tool.setuptools.package-data] does not name"
    assert built - kept == set()
    assert [name for name in built if name.endswith((".partial.json", ".smoke.json"))] == []
    assert {p.name for p in unpacked.iterdir()} == {"guerdon", f"guerdon-{__version__}.dist-info"}


def test_the_metadata_name_what_the_project_needs(unpacked: Path, metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("guerdon", PROJECT["version"])
    assert set(metadata["Requires-Python"].split(",")) == set(PROJECT["requires-python"].split(","))
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    needed = metadata.get_all("Requires-Dist", [])
    assert sorted(r for r in needed if "extra ==" not in r) == sorted(PROJECT["dependencies"])
    assert sum("extra ==" in r for r in needed) == sum(len(x) for x in PROJECT["optional-dependencies"].values())


def test_licence_and_readme_travel_along(unpacked: Path, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    licence = next(unpacked.glob("*.dist-info")) / "licenses" / "LICENSE"
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert metadata["Description-Content-Type"] == "text/markdown"
    said = metadata.get_payload(decode=True)
    assert isinstance(said, bytes) and said.decode().strip() == (ROOT / "README.md").read_text().strip()


def test_the_program_runs_from_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    entries = ConfigParser()
    entries.read(next(unpacked.glob("*.dist-info")) / "entry_points.txt")
    assert dict(entries["console_scripts"]) == {"guerdon": "guerdon.cli:main"}
    (tmp_path / "prefs.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    assert "Usage: guerdon" in python("-m", "guerdon.cli", "--help", cwd=tmp_path, path=unpacked)
    python("-c", RUN, str(unpacked), cwd=tmp_path, path=unpacked)
