"""What the kernels do with arrays beside matrix products, as loops.

Loops compile faster than NumPy's functions, and a product and a sum in one loop may round once.
"""

from __future__ import annotations

import numpy as np

from rnn_tutorial.kernels.compiler import kernel


@kernel
def multiply(a, b, product):
    """product = a b, for `train`: numba would compile np.dot once more in what Python calls."""
    np.dot(a, b, product)


@kernel
def add_rows(matrix, total):
    """total[j] += Σ_i matrix[i, j]."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            total[j] += matrix[i, j]


@kernel
def transpose(matrix, transposed):
    """transposed[j, i] = matrix[i, j]; products with what lies in order are faster."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            transposed[j, i] = matrix[i, j]


@kernel
def scatter_rows(matrix, positions, total):
    """total[positions[i]] += matrix[i] for all i."""
    for i in range(len(matrix)):
        row = total[positions[i]]
        for j in range(len(row)):
            row[j] += matrix[i, j]
