"""The memory allocator of the adapter's process."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 * 2**20  # in bytes; glibc takes no more
_KEPT = 128 * 2**20


def keep_freed_memory() -> None:
    """Have glibc keep up to 128 MiB of freed memory for the next click instead of returning it to the kernel.

    Each click takes and frees the same few buffers of some megabytes; by default the kernel zeroes their pages anew
    every time. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
