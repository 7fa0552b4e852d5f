"""The services: the registry over HTTP (core), and online reads over HTTP (online)."""
