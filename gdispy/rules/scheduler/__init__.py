"""The rules of a scheduler: which node runs which job, for whom, and what becomes of jobs when nodes are lost."""
