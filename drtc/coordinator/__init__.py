"""The coordinator: queues batches, joins small ones of a lane, deals lanes to compute nodes, hands answers back."""
