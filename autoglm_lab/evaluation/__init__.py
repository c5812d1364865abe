"""How good, how big and how fast an agent is: success, reports, times, memory. Imports neither torch nor transformers."""
