"""Online: the latest row of every key, answered in microseconds."""
