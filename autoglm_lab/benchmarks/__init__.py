"""Makers of the evidence of this package: loads, other runtimes, the claims and their verdicts, the board and the cards."""
