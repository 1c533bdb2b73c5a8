"""Persistent state on disk: the journal file, its formats, recovery files, outcomes that a node keeps."""
