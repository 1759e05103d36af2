"""How fast guerdon is, beside the library people have, in one run.

Belongs here: one module a question, each with its arms (ours and the peer's), which run in fresh processes of their
own and hand back plain numbers; ``measure`` (what a run costs), ``arms`` (fresh processes, stored results), ``page``
(docs/benchmarks.md from the stored results). Does not belong here: tests (nothing here asserts a time), experiments
about methods (``guerdon.lab``).

    python -m benchmarks                 every benchmark, then docs/benchmarks.md
    python -m benchmarks dpo scoring     these alone, then the page
    python -m benchmarks --page          the page alone, from the stored results

A benchmark module gives TITLE, ``run() -> dict`` (JSON values; it starts its arms by ``arms.fresh``) and
``page(result) -> Section``.
"""
