"""The facts that a journal records, and the state that follows from them when it is read."""
