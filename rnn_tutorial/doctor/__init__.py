"""The doctor: finds out why a network does not learn, from its run, module, data or loop."""
