"""The schema of the verbs' options agrees with what it names."""

from guerdon.training import methods
from guerdon.verbs import options


def test_the_methods_are_those_of_the_presets():
    """The schema repeats the names, because it must load without torch."""
    assert sorted(options.OFFLINE) == sorted(methods.names(online=False))
    assert sorted(options.ONLINE) == sorted(methods.names(online=True))
