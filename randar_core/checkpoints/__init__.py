"""Files of weights: what their authors released; reading, detecting, bundling and downloading them."""
