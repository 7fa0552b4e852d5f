"""Registry: the shared, versioned record of all definitions."""
