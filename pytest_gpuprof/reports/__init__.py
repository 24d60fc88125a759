"""The voice: records → cells, and one file per output."""
