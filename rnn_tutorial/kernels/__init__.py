"""An update of RNN, GRU and LSTM by hand, every formula of it, in functions that numba compiles."""
