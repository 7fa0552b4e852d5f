"""A service as processes on a port: workers, connections, one request and its answer."""
