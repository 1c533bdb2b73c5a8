"""The rules of a node: which process runs which job, how it is ended, and which outcomes are kept until
acknowledged."""
