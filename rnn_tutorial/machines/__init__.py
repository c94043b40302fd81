"""Finite-state machines: the rules that give every sequence its right answer."""
