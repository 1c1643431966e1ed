"""Training a tokenizer and a decoder, on a folder of pictures or on a drawn set."""
