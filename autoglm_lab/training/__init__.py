"""Training from nothing, and the evaluation that tells what it was worth."""
