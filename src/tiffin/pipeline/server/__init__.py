"""The model server: a model over HTTP that is asked with entity keys, in the protocols of KServe."""
