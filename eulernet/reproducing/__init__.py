"""Tables: the runs that they need, trained where they are missing, and what they say."""
