"""Around a run: its folder, checkpoints, metrics, terminal, processes; README.md promises what."""
