"""What registration minimises: similarity, smoothness, folding, overlap."""
