"""Examples that run: each folder is one, with a test under ``tests/examples``."""
