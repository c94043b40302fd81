"""Measurements for the tutorial that take longer than a test."""
