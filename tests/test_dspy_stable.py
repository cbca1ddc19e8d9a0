"""What the bridge uses of DSPy: a list, so that a new version breaks nothing unseen."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import dspy

from mtiprompt.dspy_bridge import SHARED

BRIDGE = Path(__file__).resolve().parents[1] / "mtiprompt" / "dspy_bridge"

USED = {
    # the core
    "BaseLM", "ChainOfThought", "Example", "InputField", "LM", "Module", "OutputField", "Predict",
    "Prediction", "Signature", "context",
    # settings that are read
    "settings.lm", "settings.max_trace_size", "settings.send_stream", "settings.stream_listeners",
    "settings.trace", "settings.usage_tracker",
    # streamify
    "streaming.StreamResponse",
    # requests and replies of LMs and engines, as DSPy 3.4 and 3.5 have them
    "lm15.Adaptation", "lm15.Config", "lm15.Message.assistant", "lm15.Message.user",
    "lm15.Reasoning", "lm15.Request", "lm15.Response", "lm15.StreamDeltaEvent",
    "lm15.StreamEndEvent", "lm15.StreamStartEvent", "lm15.TextDelta", "lm15.Usage",
    # errors of engines
    "lm15.AuthError", "lm15.BillingError", "lm15.ConfigurationError", "lm15.ContextLengthError",
    "lm15.InvalidRequestError", "lm15.ProviderError", "lm15.RateLimitError", "lm15.ServerError",
    "lm15.TimeoutError", "lm15.UnsupportedFeatureError", "lm15.UnsupportedModelError",
}  # fmt: skip


def _trees() -> list[ast.Module]:
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(BRIDGE.glob("*.py"))]


def _chain(node: ast.AST) -> list[str]:
    """The names of `a.b.c`; empty for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _chain(node.value)):
        return [*before, node.attr]
    return []


def _used() -> set[str]:
    nodes = [node for tree in _trees() for node in ast.walk(tree)]
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    chains = [_chain(node) for node in nodes if id(node) not in inner]
    return {".".join(chain[1:]) for chain in chains if len(chain) > 1 and chain[0] == "dspy"}


def test_nothing_else_of_dspy_is_used() -> None:
    """The bridge uses the names of the list, all of them, and no others."""
    assert _used() | set(SHARED) == USED


def test_dspy_is_imported_whole() -> None:
    """No part of DSPy is imported from its inside, and DSPy has no other name in the bridge."""
    found: list[str] = []
    for tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dspy"):
                found.append(str(node.module))
            if isinstance(node, ast.Import):
                found += [one.name for one in node.names if one.name.startswith("dspy.")]
                found += [
                    str(one.asname) for one in node.names if one.name == "dspy" and one.asname
                ]
    assert found == []


def test_the_installed_dspy_has_it_all() -> None:
    """Each name of the list is there, and public."""
    for name in USED:
        value: Any = dspy
        for part in name.split("."):
            assert not part.startswith("_")
            assert part in value if value is dspy.settings else hasattr(value, part), name
            value = getattr(value, part)
