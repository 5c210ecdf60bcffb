"""What operators see, made from lists: dashboards for Grafana, alert rules for Prometheus."""
