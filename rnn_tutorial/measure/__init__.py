"""Measuring speed: the textbook training loop, and timing side by side."""
