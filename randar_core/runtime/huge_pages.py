"""Memory in huge pages, where the system gives them to programs that ask."""

import os


def ask_for_huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MB for its large tensors. Call it before torch is imported.

    A call of a transformer reads all its weights. In pages of 4 kB the CPU spends much of that time on looking up where
    they are. Many systems give huge pages only to programs that ask (`madvise`), and torch asks only where this
    variable of its CPU allocator is set. A value that the user has set stays.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
