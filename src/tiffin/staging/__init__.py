"""Staging: putting a caller's frame where an engine can read it."""
