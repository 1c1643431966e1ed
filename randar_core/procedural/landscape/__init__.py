"""Landscapes: layered scenes in the look of vector posters, and things that stand in them."""
