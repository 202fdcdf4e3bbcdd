"""Items: how a view and an object become a batch."""
