"""Real servers for tests, started from what is installed on this machine."""
