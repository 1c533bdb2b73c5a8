"""Where the bytes of large payloads are kept outside messages: files in memory, files on disk, memory of this
process."""
