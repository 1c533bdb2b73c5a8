"""The rules of a scheduler: which node runs which job of which client, and the handling of lost nodes."""
