"""Large blocks of memory that are freed and soon needed again. Standard library only.

glibc gives a freed block of some megabytes back to the system. The next one of that size comes as
new pages, each of which the system clears at its first touch: a meta-step whose θ has two million
numbers took a sixth of its time for it (docs/speed.md, "Unrolled networks").
"""

import ctypes

TRIM, THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
LARGEST = 32 * 2**20  # the largest threshold that glibc takes: larger blocks go back all the same
KEPT = 2**30  # bytes that may stay free at the end of the heap


def keep_freed() -> bool:
    """Keep freed blocks of up to 32 MiB, 1 GiB in all, for this process; False: not with this libc.

    For processes that are ours: what a process has taken, it then keeps.
    """
    try:
        mallopt = ctypes.pythonapi.mallopt  # of the process: no library is opened
    except AttributeError:  # another system, or another libc
        return False
    return bool(mallopt(THRESHOLD, LARGEST)) and bool(mallopt(TRIM, KEPT))
