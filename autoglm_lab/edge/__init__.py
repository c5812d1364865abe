"""A phone's budget: what its battery, memory and chips allow. Simulations that are fed by measured figures; no torch."""
