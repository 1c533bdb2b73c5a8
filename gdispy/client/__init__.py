"""What a user's program holds: clusters, jobs, results, and what sends a computation to nodes."""
