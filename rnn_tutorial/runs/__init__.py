"""Around a run: its folder, checkpoints, metrics, terminal, processes, library versions."""
