"""Writers of committed files: dashboards, the metrics page, the retention page. Not used in production."""
