"""What the subcommands of `drtc` do, a module for each group of them."""
