"""The user's side: clusters, jobs, results, and the packaging of computations."""
