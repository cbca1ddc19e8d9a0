"""What tests of programs need: a loopback server that speaks OpenAI's protocol, and its faults."""

from mtiprompt.testing.chaos import Chaos as Chaos
from mtiprompt.testing.faults import Fault as Fault
from mtiprompt.testing.received import Received as Received
from mtiprompt.testing.received import smallest as smallest
from mtiprompt.testing.server import ChatServer as ChatServer

__all__ = ["Chaos", "ChatServer", "Fault", "Received", "smallest"]
