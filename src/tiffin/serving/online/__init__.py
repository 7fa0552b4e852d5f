"""The online service: features of entities over HTTP, and rows that are pushed to it."""
