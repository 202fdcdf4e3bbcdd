"""The one name under which the project is imported and installed; the folders in it are links to those at the root."""
