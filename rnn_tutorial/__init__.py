"""A recurrent-network tutorial as real software: the parts that the two scripts import."""
