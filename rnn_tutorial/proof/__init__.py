"""Proofs that a network is right for sequences of every length, and their independent check."""
