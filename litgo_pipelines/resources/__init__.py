"""One file per external system the pipelines talk to."""
