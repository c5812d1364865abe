"""From PyTorch to files that run without it: graphs, integers in them, and the bundle that is put on a phone."""
