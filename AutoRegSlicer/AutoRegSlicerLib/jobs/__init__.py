"""Jobs: folders, child processes, states, progress, estimates. No Qt."""
