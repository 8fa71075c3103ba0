"""What is known of each lawyer: outcomes, curriculum, response time, reviews and their tone."""
