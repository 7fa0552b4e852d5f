"""From a feature store to a prediction: retrieve, train, evaluate and serve, as steps that pass files to each other."""
