"""Finite-state machines: rules, such as the digit sum, that give each sequence its right answer."""
