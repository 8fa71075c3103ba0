"""Evidence about each lawyer: outcomes, curriculum, response time, reviews and their sentiment."""
