"""Pages are whole, escaped and offline; plots read on light and dark paper."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from guerdon.audit import audit_preferences, evaluate_reward_model
from guerdon.batch import Preference
from guerdon.errors import GuerdonError
from guerdon.report import build_report, plots
from guerdon.report.page import Markup, Section, interval, number, page, side_by_side, table
from guerdon.report.reward_model import reward_model_section

VOID = {"meta", "br", "path", "use", "rect", "image", "line", "circle"}


class Checker(HTMLParser):
    """Collects tags and complains of those left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, tag


def check(text: str) -> set[str]:
    """The tags of a well-formed page."""
    checker = Checker()
    checker.feed(text)
    assert not checker.open, checker.open
    return checker.seen


EVIL = '<script>alert("x")</script>'


def test_whatever_a_model_says_is_escaped() -> None:
    body = side_by_side(EVIL, [("before", EVIL), (EVIL, "")])
    text = page(EVIL, [Section(EVIL, body, EVIL)], command=EVIL, made=EVIL)
    assert "script" not in check(text)
    assert "(empty)" in text


def test_tables_escape_and_round() -> None:
    text = table(("a<b", "n"), [("<i>", 0.12345), ("x", None), ("y", 1234567)])
    assert "&lt;i&gt;" in text and "a&lt;b" in text and "0.123" in text and "–" in text and "1,234,567" in text
    assert number(float("nan")) == "–" and interval(None, 1.0) == "–" and interval(0.0, 1.0, 1) == "[0.0, 1.0]"


@pytest.mark.parametrize(
    "svg",
    [
        plots.lines({"a": plots.Line([0, 1], [1, 2], [0, 1], [2, 3])}, "x", "y", {"here": 0.5}, root=True),
        plots.frontier({"a": ([0.0], [1.0]), "b": ([1.0], [2.0])}, "x", "y"),
        plots.reliability([0.6, 0.8], [0.5, 0.9], [3, 5]),
        plots.histogram({"a": [1.0, 2.0, float("nan")], "b": []}, "x"),
        plots.bars({"a": 0.5, "b<c": 0.7}, "x", {"a": (0.4, 0.6)}, 0.5),
    ],
    ids=["lines", "frontier", "reliability", "histogram", "bars"],
)
def test_plots_take_the_pages_ink_and_no_background(svg: Markup) -> None:
    check(svg)
    assert "currentColor" in svg and "#010203" not in svg and 'role="img"' in svg
    assert "#ffffff" not in svg and 'href="http' not in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(f"#{i}" in svg for i in ids)


def test_equal_data_give_equal_bytes() -> None:
    assert plots.bars({"a": 1.0}, "x") == plots.bars({"a": 1.0}, "x")


def test_the_reward_section_says_whether_length_is_beaten() -> None:
    import torch

    report = evaluate_reward_model(torch.tensor([2.0, 1.0, 3.0]), torch.zeros(3)).to_dict()
    low = {"estimate": 0.3, "low": 0.2, "high": 0.35, "n": 3}
    stored = {"report": report, "members": [report["accuracy"]], "length_only": low, "length_rule": "longer wins"}
    assert "clearly beats" in reward_model_section(stored).summary
    high = {**low, "estimate": 1.0, "high": 1.0}
    assert "does not beat" in reward_model_section({**stored, "length_only": high}).summary


def test_a_folder_becomes_one_offline_page(tmp_path: Path) -> None:
    found = audit_preferences([Preference.pair("p", EVIL, "b"), Preference.pair("p", EVIL, "b")])
    (tmp_path / "audit.json").write_text(json.dumps({"audit": found.to_dict(), "read": None}))
    (tmp_path / "run.json").write_text(json.dumps({"verb": "audit", "command": "guerdon audit x", "status": "running"}))
    text = build_report(tmp_path).read_text()
    assert {"main", "section", "svg", "table"} <= check(text)
    assert "guerdon audit x" in text and "not finished" in text and "1 duplicates" in text
    assert not re.search(r'(src|href)="(?!#)', text)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(GuerdonError, match=r"audit\.json"):
        build_report(tmp_path)
    (tmp_path / "audit.json").unlink()
    (tmp_path / "metrics.jsonl").write_text('{"round": 1}\nnot json\n')
    with pytest.raises(GuerdonError, match=r"metrics\.jsonl:2"):
        build_report(tmp_path)
