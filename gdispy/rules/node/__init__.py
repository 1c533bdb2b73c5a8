"""The rules of a node: which process runs which job, how a job is ended, and which outcomes are kept until they are
acknowledged."""
