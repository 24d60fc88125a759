"""What every adapter and every extension has to keep, whoever wrote it."""
