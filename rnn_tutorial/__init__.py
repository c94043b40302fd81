"""A recurrent-network tutorial as real software: commands, and the parts that the scripts use."""
