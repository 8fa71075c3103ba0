"""Grafana's dashboards, built from code into deploy/grafana/dashboards/*.json; docs/dashboards.md.

    python -m litgo_pipelines.tools.dashboards            # writes the JSON
    python -m litgo_pipelines.tools.dashboards.picture    # draws docs/dashboards/*.png

Belongs here: one module per dashboard, `parts` with what all panels have in common, an example of every series and the
pictures made of it. Needs the packages of the extra `dev`; nothing else imports it. Metrics are defined elsewhere.
"""
