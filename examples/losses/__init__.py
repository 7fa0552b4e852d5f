"""What a feature store can lose, tried on Feast and on Tiffin: ``python -m examples.losses``."""
