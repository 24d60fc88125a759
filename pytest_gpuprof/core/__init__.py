"""The words: frozen values and contracts. No clock, no file, no thread and no framework is touched here."""
