"""Filling a canvas: orders, schedules, guidance, randomness, and the one loop over them, for any model family."""
