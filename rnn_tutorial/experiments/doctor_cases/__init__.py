"""Faults from real threads and healthy things of other styles, by which the doctor is judged."""
