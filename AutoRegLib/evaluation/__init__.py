"""Many pairs: a model on a split, and studies that compare trainings."""
