"""The doctor: why a network does not learn, seen in a run, a module, data or a training step."""
