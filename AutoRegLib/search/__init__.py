"""The search for a network and its loss: stages by gradient, then finals."""
