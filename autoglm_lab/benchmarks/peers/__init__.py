"""Other runtimes for the same agent: each converts, runs and compares in an environment of its own."""
