"""A trained run as a folder that scores raw rows without eulernet."""
