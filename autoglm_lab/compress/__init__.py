"""Making models small: sparsity, low rank, quantisation. Each function takes any `nn.Module` and leaves it as it was."""
