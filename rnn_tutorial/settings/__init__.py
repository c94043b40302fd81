"""The settings of a run: fields with their defaults and bounds, command-line flags, recipes."""
