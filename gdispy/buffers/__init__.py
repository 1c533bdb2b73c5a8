"""Storage of large payloads outside messages: memory files, files on disk, memory of this process."""
