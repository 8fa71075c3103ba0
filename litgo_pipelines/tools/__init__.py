"""Writers of committed files: dashboards, the metrics page, the retention page. Nothing of it runs in production."""
