"""Finished runs to one HTML page that needs nothing else: no script, no font, no network."""
