"""A reward as an HTTP server: our own endpoint, and those that OpenRLHF and slime ask.

Belongs here: the application (``app``), what it takes and tells (``payloads``), limits, reading and refusing requests
(``requests``), listening on a port (``listening``). Does not belong here: scoring and joining requests
(``guerdon.integrations.batching``), hosts that load a reward into their own process (``openrlhf``, ``slime``), the
command (``guerdon serve``).
"""

from guerdon.integrations.server.app import server
from guerdon.integrations.server.limits import Limits
from guerdon.integrations.server.listening import serve

__all__ = ["Limits", "serve", "server"]
