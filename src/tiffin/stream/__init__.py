"""Streams: messages of brokers, with positions that are kept by whoever stores the rows."""
