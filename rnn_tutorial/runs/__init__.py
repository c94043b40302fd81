"""What surrounds a run: its folder, checkpoints, metrics, terminal, processes, versions."""
