"""Language models, and the wrappers that are models around models."""
