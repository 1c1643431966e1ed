"""Running out of memory: how torch and Python say it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, and the same under its older names
        or "DefaultCPUAllocator" in str(error)
    )
