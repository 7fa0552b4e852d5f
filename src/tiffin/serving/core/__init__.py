"""The registry service: definitions, jobs, tokens and the audit log over HTTP."""
