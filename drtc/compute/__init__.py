"""The compute node: maps batches in its worker processes, joins by key, merges into the store with fences."""
