"""Experiments: the protocols of papers, and checks that the literature names as open."""
