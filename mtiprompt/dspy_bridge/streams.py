"""`dspy.streamify` on a program of ours: each field is sent whole, as soon as its slot is known.

DSPy's own listeners look for the marks of its adapters in the text of a reply; a fused reply has
none. What is no chunk of an LM they pass through to the reader, so whole fields reach it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dspy

from mtiprompt.dspy_bridge.names import Names, predictor_name
from mtiprompt.result import Answer, Result
from mtiprompt.steps import Filled

if TYPE_CHECKING:
    from mtiprompt.streaming import SlotStream


def streamed(names: Names, sender: Any, stream: SlotStream) -> Result:
    """Send the fields of a stream, from a thread that DSPy started; gives the whole result."""
    from anyio import from_thread  # comes with dspy

    for task, slot in stream:
        for part in _parts(names, task, slot):
            from_thread.run(sender.send, part)
    return stream.result


async def astreamed(names: Names, sender: Any, stream: SlotStream) -> Result:
    """As `streamed`, in an event loop."""
    async for task, slot in stream:
        for part in _parts(names, task, slot):
            await sender.send(part)
    return stream.result


def _parts(names: Names, task: str, slot: Filled) -> Iterator[Any]:
    """The fields of an answer that are listened to; all where nobody says which."""
    if not isinstance(slot, Answer):
        return
    wanted = {one.signature_field_name for one in dspy.settings.stream_listeners or ()}
    for field, value in slot.fields.items():
        name = names.outputs[task][field]
        if not wanted or name in wanted:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield dspy.streaming.StreamResponse(predictor_name(task), name, text, True)
