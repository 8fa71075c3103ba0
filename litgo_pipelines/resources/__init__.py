"""Resources: one file per external system the pipelines talk to."""
