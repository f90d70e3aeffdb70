"""Values, files and jobs: the standard library alone, so that both halves may import it."""
