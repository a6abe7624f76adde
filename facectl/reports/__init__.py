"""HTML reports: Jinja2 templates, SVG charts, and tables that the terminal shows too."""
