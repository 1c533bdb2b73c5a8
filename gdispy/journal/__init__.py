"""What outlives a process, on disk: the journal file, its formats, recovery files, outcomes that a node keeps."""
