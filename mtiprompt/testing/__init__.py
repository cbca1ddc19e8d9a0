"""What tests of programs need: a loopback server that speaks OpenAI's protocol, and its faults."""

from mtiprompt.testing.server import ChatServer as ChatServer
from mtiprompt.testing.server import Fault as Fault
from mtiprompt.testing.server import Received as Received

__all__ = ["ChatServer", "Fault", "Received"]
