"""Whether an error says that memory ran out."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine has no memory left, as torch and Python report it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )
