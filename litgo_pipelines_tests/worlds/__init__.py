"""Worlds that several tests share: marketplaces of rows, stand-ins for vendors, model stores. Fixtures included."""
