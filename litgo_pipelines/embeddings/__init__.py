"""Text embeddings: local models, one row per text and model, and the similarity that ranking uses."""
