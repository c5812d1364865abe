"""Privacy on a phone: what leaves it, sealed and under which name, and attacks that measure how much that still tells."""
