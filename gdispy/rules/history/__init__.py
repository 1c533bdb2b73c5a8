"""What a journal records, and the state that follows from it when it is read again."""
