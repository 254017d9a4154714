"""What the explorer and the board share: background jobs, screens, small widgets."""
