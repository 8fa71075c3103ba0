"""The rights of the people in the data: what we hold about somebody, its export, its erasure. docs/privacy.md."""
