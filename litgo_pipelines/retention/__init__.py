"""What is kept how long, and the nightly job that lets go of the rest."""
