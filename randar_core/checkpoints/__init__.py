"""Files of weights: what the authors released, how any of them is read safely, recognised, bundled and fetched."""
