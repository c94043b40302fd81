"""What a network gets right: every short input, long samples, the automaton it has learned."""
