"""Delivery of messages to lawyers, clients and the team, from the outbox by push or e-mail."""
