"""What the kernels do with arrays: matrix products, and loops.

Loops compile faster than NumPy's functions, and a product and a sum in one loop may round once.
"""

from __future__ import annotations

import numpy as np

from rnn_tutorial.kernels.compiler import kernel

# OpenBLAS has kernels of their own for products of up to a million multiplications. They reach the
# processor's full speed, if it has AVX-512; those for larger products reach 75 to 90% of it.
_MULTIPLICATIONS = 1_000_000
_STEP = 8  # rows; blocks of a multiple of it are the fastest


@kernel
def multiply(a, b, product):
    """product = a b, in blocks of rows that are computed fast."""
    rows = _rows_at_once(a, b)
    for start in range(0, len(a), rows):
        np.dot(a[start : start + rows], b, product[start : start + rows])


@kernel
def add_product(a, b, part, total):
    """total += aᵀ b, the sum over blocks of rows of a and b that are computed fast.

    `part` is workspace of the same size as `total`.
    """
    rows = _rows_at_once(a, total)
    for start in range(0, len(a), rows):
        np.dot(a[start : start + rows].T, b[start : start + rows], part)
        for i in range(total.shape[0]):
            for j in range(total.shape[1]):
                total[i, j] += part[i, j]


@kernel
def _rows_at_once(a, matrix):
    """Rows of a block of a, each of matrix.size multiplications; all rows of a wide matrix."""
    rows = _MULTIPLICATIONS // matrix.size // _STEP * _STEP
    return rows if rows > 0 else max(1, len(a))


@kernel
def add_rows(matrix, total):
    """total[j] += Σ_i matrix[i, j]."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            total[j] += matrix[i, j]


@kernel
def transpose(matrix, transposed):
    """transposed[i, j] = matrix[j, i]; products with what lies in order are faster."""
    for i in range(transposed.shape[0]):
        for j in range(transposed.shape[1]):
            transposed[i, j] = matrix[j, i]


@kernel
def scatter_rows(matrix, positions, total):
    """total[positions[i]] += matrix[i] for all i."""
    for i in range(len(matrix)):
        row = total[positions[i]]
        for j in range(len(row)):
            row[j] += matrix[i, j]
