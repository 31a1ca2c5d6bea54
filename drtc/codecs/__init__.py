"""How a message becomes an event: one module for each format; ``drtc.json(Event)`` and its like make them."""
