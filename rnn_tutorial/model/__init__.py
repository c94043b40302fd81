"""The network: embedding, recurrent layers (or a Transformer), linear classifier."""
