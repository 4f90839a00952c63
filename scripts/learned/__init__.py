"""Which feature interactions an EulerNet learned, and what they are worth."""
