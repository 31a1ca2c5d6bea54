"""The collector: reads a source, puts its messages in slots, commits what is stored."""
