"""How roles talk: length-prefixed frames over TCP (and over the pipes to worker processes)."""
