"""Training from nothing, and the evaluation of its result."""
