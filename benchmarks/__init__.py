"""What our own speed is, beside a peer in the same run, as ratios. Each module is one command."""
