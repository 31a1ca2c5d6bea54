"""Jobs that show how a Job is written, and that run as they stand."""
