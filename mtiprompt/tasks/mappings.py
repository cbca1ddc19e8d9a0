"""Schemas of mappings, said of keys and values apart; and the labels that a schema lists."""

from __future__ import annotations

from typing import Any


def mapped(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a mapping whose keys match a pattern, said of keys and values apart.

    Such a type is a `patternProperties` of one; any other schema is returned as it is.
    """
    patterns, extra = schema.get("patternProperties", {}), schema.get("additionalProperties", False)
    if len(patterns) != 1 or extra is not False or "properties" in schema:
        return schema
    [(pattern, part)] = patterns.items()
    names = {**schema.get("propertyNames", {}), "pattern": pattern}
    kept = {key: value for key, value in schema.items() if key != "patternProperties"}
    return {**kept, "propertyNames": names, "additionalProperties": part}


def named_by_labels(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a mapping whose keys are labels with a property for each; others as they are."""
    labels, extra = labels_of(schema.get("propertyNames", {})), schema.get("additionalProperties")
    if not labels or extra is False:
        return schema
    part = extra if isinstance(extra, dict) else {}
    properties = {str(label): part for label in labels}
    kept = {key: value for key, value in schema.items() if key != "propertyNames"}
    return {**kept, "properties": properties, "additionalProperties": False}


def labels_of(schema: dict[str, Any]) -> list[Any]:
    """The labels of `enum` or `const`; none where a schema has neither."""
    labels: list[Any] = schema["enum"] if "enum" in schema else [schema.get("const")]
    return labels if "enum" in schema or "const" in schema else []
