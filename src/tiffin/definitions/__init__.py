"""What data engineers declare: entities, features, feature tables, services and the sources behind them."""
