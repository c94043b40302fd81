"""Other programs that compress the held-out text, each at its best."""

from __future__ import annotations

import bz2
import gzip
import lzma


def compressed_sizes(train: bytes, held_out: bytes) -> dict[str, int]:
    """Bytes into which other programs compress a text, each at its best.

    Args:
        train: the text that the network has learned; two of them may see it too.
        held_out: the text to compress.

    Returns:
        xz_after_training: what the text adds to the training text, compressed together by xz.
        zstd_with_dictionary: zstd, which may copy from the training text.
    """
    import zstandard

    dictionary = zstandard.ZstdCompressionDict(train, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    window_log = max(12, (len(train) + len(held_out)).bit_length())  # reaches back over both
    options = zstandard.ZstdCompressionParameters.from_level(
        22, window_log=window_log, enable_ldm=True
    )
    zstd = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=options)
    xz = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**window_log}]

    def xz_size(text: bytes) -> int:
        return len(lzma.compress(text, filters=xz))

    return {
        "gzip": len(gzip.compress(held_out, 9)),
        "bz2": len(bz2.compress(held_out, 9)),
        "xz": xz_size(held_out),
        "xz_after_training": xz_size(train + held_out) - xz_size(train),
        "zstd_with_dictionary": len(zstd.compress(held_out)),
    }
