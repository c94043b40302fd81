"""What is learned: a rule such as the sum modulo 10, or the labels of a file."""
