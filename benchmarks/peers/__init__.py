"""One small file per peer, each run by the peer's own Python: nothing of AutoReg is imported here."""
