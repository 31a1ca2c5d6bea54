"""What people and monitors see of a running system."""
