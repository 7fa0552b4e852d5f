"""The client's side of the services: connections, credentials, and answers turned back into values and errors."""
