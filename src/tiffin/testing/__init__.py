"""Conformance suites and data strategies: what any backend must pass, shipped so that anyone can run it."""
