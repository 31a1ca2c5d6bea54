"""Who belongs to the cluster, and who owns what in it."""
