"""Memory in large pages, where the system gives them to those who ask."""

import os


def ask_for_large_pages() -> None:
    """Let torch ask Linux for pages of 2 MB for its large tensors; call it before torch is imported.

    A call of a decoder reads all its weights. In pages of 4 kB the processor spends much of that time on looking up
    where they lie. Many systems give large pages only to programs that ask (`madvise`), and torch asks only where
    this variable of its CPU allocator is set. Whoever has set it to something keeps that.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
