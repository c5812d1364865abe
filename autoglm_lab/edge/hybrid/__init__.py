"""One engine made of two: a small model on the device and a large one behind a network that comes and goes."""
