"""Programs a user runs, one per verb."""
