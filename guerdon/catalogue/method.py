"""What an entry is, and how entries are found: a name is a module, found by walking the package."""

import difflib
import importlib
import pkgutil
from dataclasses import dataclass

from guerdon.errors import GuerdonError
from guerdon.lab.protocol import Claim, Experiment

REPORTING = tuple(range(10, 18))
"""Seeds that report on text/gold: the lab was made while looking at 0 to 9, and tuning looks at 1000 and above."""


@dataclass(frozen=True)
class Method:
    """One published system.

    slug: its name here. card: its number in the founding list. title, paper: as published ('Rafailov et al. 2023, arXiv
    2305.18290'). family: 'direct', 'online', 'reward_models', … composition: the expression that builds it from the
    library's parts. essence: one or two sentences. experiment: both arms, one search grid, seeds, and the claim, all
    fixed before the runs. beside: further experiments on other testbeds, with their own claims and verdicts; their
    slugs begin with the method's ('sppo-text'). caveat: what the experiments do not show, or where they depart from the
    paper. checks: the tests that hold its card's hand-computed values ('tests/objectives/test_x.py::test_y').
    """

    slug: str
    card: int
    title: str
    paper: str
    family: str
    essence: str
    composition: str
    experiment: Experiment
    beside: tuple[Experiment, ...] = ()
    caveat: str = ""
    checks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.experiment.slug != self.slug:
            raise GuerdonError(f"Method {self.slug!r} carries the experiment of {self.experiment.slug!r}.")
        for more in self.beside:
            if not more.slug.startswith(f"{self.slug}-"):
                raise GuerdonError(f"An experiment beside {self.slug!r} is called {more.slug!r}: not '{self.slug}-…'.")

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """The main experiment and those beside it."""
        return (self.experiment, *self.beside)

    @property
    def claim(self) -> Claim:
        """The claim, as it stood before the runs."""
        return self.experiment.claim


def entries() -> tuple[Method, ...]:
    """Every entry in order of card number. Raises GuerdonError where two entries share a slug."""
    import guerdon.catalogue as package

    found: dict[str, Method] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        method = getattr(importlib.import_module(module.name), "METHOD", None)
        if isinstance(method, Method):
            if method.slug in found:
                raise GuerdonError(f"Two catalogue entries are called {method.slug!r}; one is {module.name}.")
            found[method.slug] = method
    return tuple(sorted(found.values(), key=lambda m: m.card))


def find(name: str) -> Method:
    """The entry called ``name`` (its slug, or its card number). Raises GuerdonError naming the nearest slugs."""
    known = {m.slug: m for m in entries()}
    by_card = {str(m.card): m for m in known.values()}
    method = known.get(name) or by_card.get(name)
    if method is None:
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)
        raise GuerdonError(f"No method is called {name!r}; did you mean {' or '.join(near)}?")
    return method


def search(text: str) -> tuple[Method, ...]:
    """Entries whose slug, title, paper, family or essence contains ``text``, whatever its case."""
    wanted = text.casefold()
    return tuple(m for m in entries() if wanted in f"{m.slug} {m.title} {m.paper} {m.family} {m.essence}".casefold())
