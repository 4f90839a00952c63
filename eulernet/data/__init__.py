"""Raw files to encoded stores, and stores to batches."""
