"""Training of tokenizers and decoders, and the procedural pictures the built-in model learns from."""
