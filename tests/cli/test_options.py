"""The schema of the verbs' options agrees with what it names."""

from guerdon.training import presets
from guerdon.verbs import options


def test_the_methods_are_those_of_the_presets():
    """The schema repeats the names, because it must load without torch."""
    assert (*presets.OFFLINE, *presets.ONLINE) == options.METHODS
    assert presets.ONLINE == options.ONLINE
