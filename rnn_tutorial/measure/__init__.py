"""Measuring speed: the textbook training loop, and candidates timed side by side."""
