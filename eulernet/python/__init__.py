"""The Python door: ``fit``, ``load``, ``CTRClassifier``, ``create_model``. It does what the commands do."""
