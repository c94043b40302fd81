"""Training data: streams of samples that anyone can reproduce, batches, packing, labelled files."""
