"""Every flight that left New York City in 2013: from raw tables to a training set and online reads."""
