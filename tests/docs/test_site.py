"""The site builds without a warning, and a built page fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//""")

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None or find_spec("mkdocstrings") is None,
    reason="mkdocs-material and mkdocstrings build the site; install them with: pip install 'guerdon[docs]'",
)


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    """One test, since a build takes a while. A proxy that nobody answers stands in for a missing internet."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "WARNING" not in done.stderr
    every_kind_of_page_is_there(tmp_path)
    generated_parts_are_filled_in(tmp_path)
    nothing_is_fetched_from_elsewhere(tmp_path)


def every_kind_of_page_is_there(site: Path) -> None:
    for page in ("index", "start", "verbs/align", "api/objectives", "catalogue", "catalogue/dpo", "bugs", "data-audit"):
        assert (site / f"{page}.html").is_file(), page
    assert not list(site.rglob("*.py"))


def generated_parts_are_filled_in(site: Path) -> None:
    align = (site / "verbs" / "align.html").read_text()
    assert "--lora-rank" in align and "options: align" not in align
    reference = (site / "api" / "objectives.html").read_text()
    assert "guerdon.objectives.dpo" in reference and "2305.18290" in reference
    assert "Rafailov" in (site / "catalogue" / "dpo.html").read_text()
    assert 'href="catalogue/dpo.html"' in (site / "catalogue.html").read_text()


def nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = FETCHED.search(page.read_text())
        assert found is None, f"{page.name}: {found and found[0]}"
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text().replace('"', ""), sheet.name


def test_docstrings_show_what_was_written() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from docstrings import escaped  # type: ignore[import-not-found,unused-ignore]
    finally:
        sys.path.pop(0)
    assert escaped("z_w [...,S,A] * 2, `x[1][2]` and ``a_b``") == r"z\_w \[...,S,A\] \* 2, `x[1][2]` and ``a_b``"
    assert escaped("the *forward* KL, a*b*c, 2 * x * y") == r"the *forward* KL, a\*b\*c, 2 \* x \* y"
    assert "```python\n>>> s = f()\n```" in escaped("Makes one.\n\n>>> s = f()\n\nMore.")
