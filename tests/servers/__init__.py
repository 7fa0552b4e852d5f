"""Real servers for tests: each starts on a free port of the loopback, and is stopped by whoever started it."""
