"""Random-order autoregressive image models: RandAR (arXiv 2412.01827) and RAR (arXiv 2411.00776)."""

__version__ = "0.1.0"
