"""Whether an error says that memory ran out."""

WORDS = ("out of memory", "defaultcpuallocator", "invalid buffer size")


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine has no memory left, as torch and Python report it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        # What torch raises for the CPU, and for devices other than CUDA's, such as Apple's.
        or (isinstance(error, RuntimeError) and any(words in str(error).lower() for words in WORDS))
    )
