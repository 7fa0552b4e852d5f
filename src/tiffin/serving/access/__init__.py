"""Who may ask what of a service, and the record of it."""
