"""The arithmetic: numbers in, frozen numbers out. No clock, no file, no framework."""
