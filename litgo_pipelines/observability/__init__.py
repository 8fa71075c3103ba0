"""How the pipelines tell what they do: log lines, pictures in metadata; metrics and health will join them."""
