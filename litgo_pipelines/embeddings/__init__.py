"""What texts mean, as vectors: local models, one row a text and model, and the similarity that ranking uses."""
