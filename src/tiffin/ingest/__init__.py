"""Ingestion: validate, commit offline, write online; nothing lost, doubled or half-written."""
