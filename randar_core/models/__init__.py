"""The model families: decoders that draw tokens, tokenizers that turn pixels into tokens and back."""
