"""What stands in front of Dagster's web pages: accounts, sessions, and the checks every request passes."""
