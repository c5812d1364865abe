"""The runtime on the phone: features, prompts, the engine protocol. No PyTorch."""
