"""Files of pictures and sets of pictures, read and written whole."""
