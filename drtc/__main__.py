"""``python -m drtc`` is ``drtc``."""
from .cli import main

main()
